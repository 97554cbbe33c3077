//! Rows of the store: the slots of many endpoints in one value.
//!
//! A value of its own per endpoint would leave the tree's pages half empty (keys come in ascending order, and a full page is
//! split in the middle), and a commit would touch a thousand places. So the rows of one slot are laid one behind the other,
//! ascending by endpoint, in blocks that just fill their pages.

/// The id that the sum of all servers is kept under. An endpoint whose id is this (one of 2^64) is not kept.
pub(crate) const TOTAL: u64 = 0;

/// Bytes of a block: four pages of the store, without what it needs for itself.
const BLOCK_BYTES: usize = 16_384 - 128;

/// Id and length before every row.
const HEAD_BYTES: usize = 12;

/// Lays rows into blocks: the first row's id, and the block.
pub(crate) fn blocks<B: AsRef<[u8]>>(rows: &mut [(u64, B)]) -> Vec<(u64, Vec<u8>)> {
    rows.sort_unstable_by_key(|(id, _)| *id);
    let mut blocks: Vec<(u64, Vec<u8>)> = Vec::new();
    for (id, row) in rows {
        let row = row.as_ref();
        let Ok(length) = u32::try_from(row.len()) else {
            continue;
        };
        let needed = HEAD_BYTES + row.len();
        let block = match blocks.last_mut() {
            Some((_, block)) if block.len() + needed <= BLOCK_BYTES => block,
            _ => {
                blocks.push((*id, Vec::with_capacity(needed)));
                &mut blocks.last_mut().expect("one was just added").1
            }
        };
        block.extend(id.to_le_bytes());
        block.extend(length.to_le_bytes());
        block.extend(row);
    }
    blocks
}

/// The rows of a block. What is left behind a row that says to be longer than the block is not looked at.
pub(crate) struct Rows<'a> {
    rest: &'a [u8],
}

impl<'a> Rows<'a> {
    /// Of bytes that may be anything.
    pub(crate) fn new(block: &'a [u8]) -> Self {
        Self { rest: block }
    }

    /// True if what is left is none.
    pub(crate) fn is_broken(&self) -> bool {
        !self.rest.is_empty()
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, rest) = self.rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (row, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        Some((u64::from_le_bytes(*id), row))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_come_back_in_order_and_blocks_fill_their_pages(
            rows in prop::collection::btree_map(any::<u64>(), prop::collection::vec(any::<u8>(), 0..2000), 0..100),
        ) {
            let mut given: Vec<_> = rows.clone().into_iter().rev().collect();
            let mut read = Vec::new();
            for (first, block) in blocks(&mut given) {
                prop_assert!(block.len() <= BLOCK_BYTES);
                let mut rows = Rows::new(&block);
                let before = read.len();
                read.extend(rows.by_ref().map(|(id, row)| (id, row.to_vec())));
                prop_assert!(!rows.is_broken());
                prop_assert_eq!(read[before].0, first);
            }
            prop_assert_eq!(read, rows.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn a_block_may_be_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut rows = Rows::new(&bytes);
            let read: usize = rows.by_ref().map(|(_, row)| HEAD_BYTES + row.len()).sum();
            prop_assert_eq!(rows.is_broken(), read < bytes.len());
        }
    }
}
