//! A file of a simulated disk: what is in the system's cache, and how much of it has reached the medium.

use std::ops::Range;

use orrery_api::random::Random;

use super::content::Content;

/// What a crash loses or keeps as a whole.
const SECTOR: usize = 512;

/// A file, as the system shows it and as a crash may leave it.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// What a read shows.
    pub content: Content,
    /// So many bytes of `content` are durable, but for what was forgotten.
    durable: usize,
    /// Durable bytes behind `durable` that an unsynced truncation cut off.
    cut: Vec<u8>,
    /// What a failed sync was to write: the cache shows it, no later sync writes it, and the medium may lack it.
    forgotten: Vec<Range<usize>>,
    /// Whether the name is durable.
    pub named: bool,
}

impl File {
    /// The machine loses power; how many bytes are lost.
    pub fn crash(&mut self, random: &Random) -> usize {
        let mut lost = 0;
        let appended = self.content.len() - self.durable;
        if !self.cut.is_empty() && random.chance(0.5) {
            // The truncation, and what was written after it, did not reach the disk.
            lost += appended;
            self.content.truncate(self.durable);
            let cut = std::mem::take(&mut self.cut);
            self.content.append(&cut);
        } else if appended > 0 {
            let kept = random.below(appended as u64 + 1) as usize;
            lost += appended - kept;
            self.content.truncate(self.durable + kept);
            lost += self.lose(self.durable..self.content.len(), random, 0.3);
        }
        for range in std::mem::take(&mut self.forgotten) {
            lost += self.lose(range, random, 0.5);
        }
        self.cut.clear();
        self.durable = self.content.len();
        self.named = true;
        lost
    }

    /// Loses the sectors of a range, each with `probability`: they read as zeros. How many bytes are lost.
    fn lose(&mut self, range: Range<usize>, random: &Random, probability: f64) -> usize {
        let mut lost = 0;
        let (mut start, length) = (range.start, range.end.min(self.content.len()));
        if start >= length {
            return 0;
        }
        self.content.change(|content| {
            while start < length {
                let end = ((start / SECTOR + 1) * SECTOR).min(length);
                if random.chance(probability) {
                    lost += end - start;
                    content[start..end].fill(0);
                }
                start = end;
            }
        });
        lost
    }

    /// All of it becomes durable, but for what was forgotten before.
    pub fn sync(&mut self) {
        self.durable = self.content.len();
        self.cut.clear();
    }

    /// A sync fails: the system takes what it failed to write for written, and never tries again.
    pub fn forget(&mut self) {
        if self.durable < self.content.len() {
            self.forgotten.push(self.durable..self.content.len());
        }
        self.sync();
    }

    /// Cuts the file; not durable until it is synced.
    pub fn truncate(&mut self, length: usize) {
        if length < self.durable {
            let mut cut = self.content.whole()[length..self.durable].to_vec();
            cut.append(&mut self.cut);
            self.cut = cut;
            self.durable = length;
        }
        self.content.truncate(length);
    }
}
