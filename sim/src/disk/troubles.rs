//! What is wrong with a disk for now. Each trouble stands for itself and has a number: faults may overlap.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use crate::faults::Victims;
use crate::scenario::{DiskOperation, Span};

/// Something that is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Appends, syncs and renames take so much longer.
    Slow(Span),
    /// So many bytes more, and it is full.
    Full(usize),
    /// The next so many operations of a kind fail.
    Fails(DiskOperation, u32),
    /// In the next so many files that are read a bit is wrong, which is right on the medium.
    Misreads(u32),
    /// A bit of every file is wrong on the medium.
    Rots,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Slow(by) => write!(f, "what it writes takes {by} longer"),
            Trouble::Full(room) => write!(f, "it has room for {room} bytes more"),
            Trouble::Fails(operation, 1) => write!(f, "one {operation} fails"),
            Trouble::Fails(operation, times) => write!(f, "{times} {operation}s fail"),
            Trouble::Misreads(1) => f.write_str("a bit is wrong in one file that is read"),
            Trouble::Misreads(times) => write!(f, "a bit is wrong in {times} files that are read"),
            Trouble::Rots => f.write_str("a bit of every file is wrong on it"),
        }
    }
}

/// The troubles of a disk, each with whom it befalls.
#[derive(Debug, Default)]
pub struct Troubles {
    now: BTreeMap<u64, (Trouble, Victims)>,
    last: u64,
    harm: u64,
}

impl Troubles {
    /// A trouble begins; its number.
    pub fn begin(&mut self, trouble: Trouble, victims: Victims) -> u64 {
        self.last += 1;
        self.now.insert(self.last, (trouble, victims));
        self.last
    }

    /// A trouble is over.
    pub fn end(&mut self, number: u64) {
        self.now.remove(&number);
    }

    /// All is well.
    pub fn end_all(&mut self) {
        self.now.clear();
    }

    /// Whether a trouble has not passed yet.
    pub fn lasts(&self, number: u64) -> bool {
        self.now.contains_key(&number)
    }

    /// How often an operation failed so far, or showed what had not been written.
    pub fn harm(&self) -> u64 {
        self.harm
    }

    /// By how much an operation is slower that begins now.
    pub fn slow(&self) -> Vec<Span> {
        let by = self.now.values().filter_map(|(trouble, victims)| match trouble {
            Trouble::Slow(by) => {
                victims.add();
                Some(*by)
            }
            _ => None,
        });
        by.collect()
    }

    /// Whether an operation that is tried now fails.
    pub fn fails(&mut self, tried: DiskOperation) -> io::Result<()> {
        let mut all = self.now.iter_mut();
        let failing = all.find_map(|(number, (trouble, victims))| match trouble {
            Trouble::Fails(operation, times) if *operation == tried => Some((*number, times, victims)),
            _ => None,
        });
        let Some((number, times, victims)) = failing else {
            return Ok(());
        };
        victims.add();
        *times = times.saturating_sub(1);
        if *times == 0 {
            self.end(number);
        }
        self.harm += 1;
        Err(io::Error::other(format!("input/output error of the {tried}")))
    }

    /// How many bytes of `wanted` fit; takes their room.
    pub fn take_room(&mut self, wanted: usize) -> usize {
        let mut fits = wanted;
        for (trouble, victims) in self.now.values() {
            if let Trouble::Full(room) = trouble
                && *room < wanted
            {
                victims.add();
                fits = fits.min(*room);
            }
        }
        self.harm += u64::from(fits < wanted);
        self.change_room(|room| room - fits.min(room));
        fits
    }

    /// So many bytes are free again.
    pub fn give_room(&mut self, bytes: usize) {
        self.change_room(|room| room + bytes);
    }

    fn change_room(&mut self, change: impl Fn(usize) -> usize) {
        for (trouble, _) in self.now.values_mut() {
            if let Trouble::Full(room) = trouble {
                *room = change(*room);
            }
        }
    }

    /// Whether a bit is wrong in what is read now, and what tells which one: the medium's stays the same.
    pub fn wrong_bit(&mut self) -> Option<String> {
        let mut all = self.now.iter_mut();
        let (number, (trouble, victims)) = all.find(|(_, (trouble, _))| match trouble {
            Trouble::Misreads(_) | Trouble::Rots => true,
            Trouble::Slow(_) | Trouble::Full(_) | Trouble::Fails(..) => false,
        })?;
        victims.add();
        let mut bit = format!("{number}");
        if let Trouble::Misreads(times) = trouble {
            bit = format!("{number}/{times}");
            *times = times.saturating_sub(1);
            if *times == 0 {
                let number = *number;
                self.end(number);
            }
        }
        self.harm += 1;
        Some(bit)
    }
}
