//! One time that a request is carried out: from its beginning to its answer, or to the death of its server.

use std::sync::Arc;

use crate::model::{Answered, Asked, Seen};
use crate::world::World;

/// A request that is being carried out. When it is dropped without an answer, its fate is unknown.
pub struct Execution {
    world: Arc<World>,
    number: u64,
    /// Whether it is a write that nobody has answered.
    open: bool,
}

impl Execution {
    /// A server begins to carry `asked` out.
    pub fn begin(world: &Arc<World>, asked: &Asked) -> Self {
        let number = world.next_number();
        let open = asked.method != http::Method::GET;
        if open {
            let begun = Seen::Begun {
                execution: number,
                asked,
            };
            world.witness.observe(world, &begun);
        }
        Execution {
            world: world.clone(),
            number,
            open,
        }
    }

    /// The server answers.
    pub fn answer(mut self, asked: &Asked, mut answered: Answered) {
        self.open = false;
        answered.execution = self.number;
        self.world
            .witness
            .observe(&self.world, &Seen::Answered(asked, &answered));
        self.world.witness.cover(&self.world, asked, answered.status);
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if self.open {
            self.world.coverage.saw("a server died over a write");
            let lost = Seen::Lost { execution: self.number };
            self.world.witness.observe(&self.world, &lost);
        }
    }
}
