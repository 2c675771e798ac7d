//! What a disk loses, keeps, and does wrong.

use std::collections::BTreeSet;

use super::*;
use crate::in_simulation;
use crate::scenario::{DiskOperation, Span};

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..200 {
        in_simulation(seed, move || async move {
            let disk = SimDisk::new(Random::from_number(seed));
            disk.append("new", Bytes::from_static(&[7; 1500])).await.unwrap();
            disk.sync("new").await.unwrap();
            disk.rename("new", "log").await.unwrap();
            disk.append("log", Bytes::from_static(&[9; 3000])).await.unwrap();
            disk.crash();
            let content = disk.read("log").await.unwrap();
            assert!(content.len() >= 1500 && content[..1500].iter().all(|byte| *byte == 7));
            assert!(content[1500..].iter().all(|byte| *byte == 9 || *byte == 0));
        });
    }
}

#[test]
fn an_unsynced_write_may_be_lost_torn_or_kept() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..60 {
        outcomes.insert(in_simulation(seed, move || async move {
            let disk = SimDisk::new(Random::from_number(seed));
            disk.append("new", Bytes::new()).await.unwrap();
            disk.rename("new", "log").await.unwrap();
            disk.append("log", Bytes::from_static(&[9; 1024])).await.unwrap();
            disk.crash();
            let content = disk.read("log").await.unwrap();
            (content.len() < 1024, content.contains(&0))
        }));
    }
    assert!(
        outcomes.contains(&(true, false)) && outcomes.contains(&(true, true)),
        "{outcomes:?}"
    );
}

#[test]
fn an_unsynced_truncation_may_not_have_happened() {
    let lengths: BTreeSet<usize> = (0..40)
        .map(|seed| {
            in_simulation(seed, move || async move {
                let disk = SimDisk::new(Random::from_number(seed));
                disk.append("new", Bytes::from_static(&[1; 100])).await.unwrap();
                disk.sync("new").await.unwrap();
                disk.rename("new", "log").await.unwrap();
                disk.truncate("log", 40).await.unwrap();
                disk.crash();
                disk.read("log").await.unwrap().len()
            })
        })
        .collect();
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [40, 100]);
}

/// A disk with a durable file `log` of 1,000 sevens.
async fn with_log(seed: u64) -> SimDisk {
    let disk = SimDisk::new(Random::from_number(seed));
    disk.append("new", Bytes::from_static(&[7; 1000])).await.unwrap();
    disk.sync("new").await.unwrap();
    disk.rename("new", "log").await.unwrap();
    disk
}

#[test]
fn what_a_failed_sync_was_to_write_is_shown_and_may_be_gone_after_a_crash_whatever_was_synced_since() {
    let mut lost = BTreeSet::new();
    for seed in 0..60 {
        lost.insert(in_simulation(seed, move || async move {
            let disk = with_log(seed).await;
            let number = disk.begin(Trouble::Fails(DiskOperation::Sync, 1), Victims::default());
            disk.append("log", Bytes::from_static(&[8; 600])).await.unwrap();
            assert!(disk.sync("log").await.is_err());
            disk.over(number).await;
            disk.append("log", Bytes::from_static(&[9; 600])).await.unwrap();
            disk.sync("log").await.unwrap();
            assert_eq!(
                disk.read("log").await.unwrap()[1000..1600],
                [8; 600],
                "the cache shows it"
            );
            disk.crash();
            let content = disk.read("log").await.unwrap();
            assert_eq!((&content[..1000], &content[1600..]), (&[7; 1000][..], &[9; 600][..]));
            assert!(content[1000..1600].iter().all(|byte| matches!(byte, 0 | 8)));
            content[1000..1600].contains(&0)
        }));
    }
    assert_eq!(lost.len(), 2, "it may be lost, and may not");
}

#[test]
fn a_full_disk_takes_what_fits_and_more_once_something_is_removed() {
    in_simulation(1, || async {
        let disk = with_log(1).await;
        let number = disk.begin(Trouble::Full(300), Victims::default());
        let error = disk.append("more", Bytes::from_static(&[1; 500])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.read("more").await.unwrap().len(), 300);
        disk.remove("more").await.unwrap();
        disk.append("again", Bytes::from_static(&[1; 300])).await.unwrap();
        assert!(disk.append("again", Bytes::from_static(&[1])).await.is_err());
        assert_eq!(disk.harm(), 2);
        disk.end(number);
        disk.append("again", Bytes::from_static(&[1; 500])).await.unwrap();
    });
}

#[test]
fn a_slow_disk_takes_its_time_and_no_longer_once_it_is_well() {
    in_simulation(1, || async {
        let disk = with_log(1).await;
        let second = Duration::from_secs(1);
        disk.begin(Trouble::Slow(Span::from(second)), Victims::default());
        let slow = tokio::time::Instant::now();
        disk.append("log", Bytes::from_static(&[1])).await.unwrap();
        disk.sync("log").await.unwrap();
        assert!(slow.elapsed() >= 2 * second && slow.elapsed() < 3 * second);
        disk.end_all();
        let quick = tokio::time::Instant::now();
        disk.append("log", Bytes::from_static(&[1])).await.unwrap();
        disk.sync("log").await.unwrap();
        assert!(quick.elapsed() < second);
    });
}

#[test]
fn as_many_operations_fail_as_it_says_and_a_rename_may_have_happened() {
    let mut happened = BTreeSet::new();
    for seed in 0..40 {
        happened.insert(in_simulation(seed, move || async move {
            let disk = with_log(seed).await;
            disk.begin(Trouble::Fails(DiskOperation::Append, 2), Victims::default());
            disk.begin(Trouble::Fails(DiskOperation::Rename, 1), Victims::default());
            for _ in 0..2 {
                assert!(disk.append("log", Bytes::from_static(&[1])).await.is_err());
            }
            disk.append("log", Bytes::from_static(&[1])).await.unwrap();
            assert_eq!(disk.read("log").await.unwrap().len(), 1001);
            assert!(disk.rename("log", "other").await.is_err());
            disk.list().await.unwrap()
        }));
    }
    let both = [vec!["log".to_owned()], vec!["other".to_owned()]];
    assert_eq!(happened.into_iter().collect::<Vec<_>>(), both);
}

#[test]
fn a_misread_is_right_the_next_time_and_a_rotten_bit_is_the_same_every_time() {
    in_simulation(1, || async {
        let disk = with_log(1).await;
        let number = disk.begin(Trouble::Misreads(2), Victims::default());
        let (one, two) = (disk.read("log").await.unwrap(), disk.read("log").await.unwrap());
        let wrong = |content: &[u8]| content.iter().filter(|byte| **byte != 7).count();
        assert_eq!((wrong(&one), wrong(&two)), (1, 1));
        assert_ne!(one, two);
        disk.over(number).await;
        assert_eq!(wrong(&disk.read("log").await.unwrap()), 0);
        let number = disk.begin(Trouble::Rots, Victims::default());
        let rotten = disk.read("log").await.unwrap();
        assert_eq!(wrong(&rotten), 1);
        assert_eq!(disk.read("log").await.unwrap(), rotten);
        disk.end(number);
        assert_eq!(wrong(&disk.read("log").await.unwrap()), 0);
        assert_eq!(disk.harm(), 4);
    });
}

#[test]
fn a_trouble_befalls_only_what_is_tried_while_it_lasts() {
    in_simulation(1, || async {
        let disk = with_log(1).await;
        let (victims, count) = Victims::counted();
        let byte = Bytes::from_static(&[1]);
        disk.begin(Trouble::Fails(DiskOperation::Rename, 1), victims.clone());
        disk.begin(Trouble::Full(1), victims.clone());
        disk.begin(Trouble::Misreads(1), victims.clone());
        disk.append("log", byte.clone()).await.unwrap();
        disk.sync("log").await.unwrap();
        assert_eq!(count(), 0);
        assert!(disk.append("log", byte.clone()).await.is_err());
        assert_eq!(count(), 1);
        assert!(disk.rename("log", "other").await.is_err());
        assert_eq!(count(), 2);
        for name in disk.list().await.unwrap() {
            disk.read(&name).await.unwrap();
        }
        assert_eq!(count(), 3);
        disk.end_all();
        disk.begin(Trouble::Slow(Span::seconds(1, 1)), victims);
        assert_eq!(count(), 3);
        disk.append("more", byte).await.unwrap();
        assert_eq!(count(), 4);
    });
}

#[test]
fn troubles_are_told_in_plain_words() {
    let troubles = [
        Trouble::Slow(Span::millis(5, 500)),
        Trouble::Full(872),
        Trouble::Fails(DiskOperation::Sync, 2),
        Trouble::Fails(DiskOperation::Append, 1),
        Trouble::Misreads(3),
        Trouble::Rots,
    ];
    let told: Vec<String> = troubles.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    what it writes takes 5ms..500ms longer
    it has room for 872 bytes more
    2 syncs fail
    one append fails
    a bit is wrong in 3 files that are read
    a bit of every file is wrong on it
    ");
}
