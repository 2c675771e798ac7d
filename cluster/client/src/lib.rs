//! What a component needs to talk to the API: Api, Informer, WorkQueue, events, leader election.
