//! Words that a protocol knows, found by one look whatever the case of their letters.

/// Where words lie, by their length and some of their letters; `T` tells where. `SLOTS` are about twice as many as words.
#[derive(Debug)]
pub(super) struct Words<T, const SLOTS: usize>([Option<T>; SLOTS]);

impl<T: Copy, const SLOTS: usize> Words<T, SLOTS> {
    /// No words.
    pub(super) const fn new() -> Self {
        Self([None; SLOTS])
    }

    /// Adds a word.
    pub(super) const fn add(&mut self, word: &[u8], place: T) {
        let mut slot = Self::first_slot(word);
        while self.0[slot].is_some() {
            slot = (slot + 1) % SLOTS;
        }
        self.0[slot] = Some(place);
    }

    /// The first slot to look for a word in; the case of its letters does not matter.
    const fn first_slot(word: &[u8]) -> usize {
        let length = word.len();
        if length == 0 {
            return 0;
        }
        let letters = [word[0], word[length / 2], word[length - 1], word[length / 3]];
        let letters = (u32::from_le_bytes(letters) & 0x1f1f_1f1f) as usize;
        ((letters ^ (length << 5)).wrapping_mul(0x9e37_79b1) >> 16) % SLOTS
    }

    /// What is found of this word; `at` gives the word that lies somewhere.
    pub(super) fn find<F>(&self, word: &[u8], at: impl Fn(T) -> (&'static str, F)) -> Option<F> {
        let mut slot = Self::first_slot(word);
        while let Some(place) = self.0[slot] {
            let (known, found) = at(place);
            if known.as_bytes().eq_ignore_ascii_case(word) {
                return Some(found);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }
}
