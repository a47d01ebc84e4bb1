//! The paged KV cache: blocks of a fixed number of tokens with reference
//! counts, prefix caching by a chain of block hashes, and eviction of the least
//! recently used. Pure bookkeeping; when blocks are allocated is decided in
//! `scheduler`.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Index of a block.
pub type BlockId = u32;

/// Hash of a block's tokens and of everything before them.
pub type BlockHash = u64;

const NONE: BlockId = BlockId::MAX;

#[derive(Clone, Debug)]
struct Block {
    references: u32,
    hash: Option<BlockHash>,
    /// Neighbours in the queue of free blocks.
    previous: BlockId,
    next: BlockId,
}

/// The pool of blocks of one engine.
///
/// Blocks without references wait in a queue, oldest first. They keep their
/// content and hash until they are taken for something else, so a later request
/// with the same prefix finds them.
#[derive(Debug)]
pub struct KvCache {
    block_size: u64,
    caching: bool,
    blocks: Vec<Block>,
    cached: HashMap<BlockHash, BlockId>,
    head: BlockId,
    tail: BlockId,
    free: usize,
}

impl KvCache {
    /// A cache of `blocks` blocks of `block_size` tokens.
    pub fn new(blocks: u64, block_size: u64, caching: bool) -> Self {
        let count = usize::try_from(blocks).unwrap_or(usize::MAX).min(NONE as usize - 1);
        let mut cache = Self {
            block_size,
            caching,
            blocks: vec![Block { references: 0, hash: None, previous: NONE, next: NONE }; count],
            cached: HashMap::new(),
            head: NONE,
            tail: NONE,
            free: 0,
        };
        for id in 0..count {
            cache.push_free(id as BlockId);
        }
        cache
    }

    /// Tokens per block.
    pub fn block_size(&self) -> u64 {
        self.block_size
    }

    /// All blocks.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Whether prefixes are kept.
    pub fn caching(&self) -> bool {
        self.caching
    }

    /// Blocks that can be taken, those with reusable content among them.
    pub fn free_blocks(&self) -> usize {
        self.free
    }

    /// Share of the blocks in use, 0 to 1.
    pub fn usage(&self) -> f64 {
        if self.blocks.is_empty() {
            return 0.0;
        }
        1.0 - self.free as f64 / self.blocks.len() as f64
    }

    /// The blocks of the longest cached prefix of `hashes`.
    pub fn lookup(&self, hashes: &[BlockHash]) -> Vec<BlockId> {
        if !self.caching {
            return Vec::new();
        }
        hashes.iter().map_while(|hash| self.cached.get(hash).copied()).collect()
    }

    /// How many of `blocks` are not in use at present: taking them over lowers the
    /// number of free blocks.
    pub fn unreferenced(&self, blocks: &[BlockId]) -> usize {
        blocks.iter().filter(|id| self.blocks[**id as usize].references == 0).count()
    }

    /// Adds a reference to blocks found by [`Self::lookup`].
    pub fn share(&mut self, blocks: &[BlockId]) {
        for id in blocks {
            if self.blocks[*id as usize].references == 0 {
                self.unlink(*id);
            }
            self.blocks[*id as usize].references += 1;
        }
    }

    /// Takes `count` blocks, least recently used first; `None` leaves everything
    /// as it was.
    pub fn take(&mut self, count: usize) -> Option<Vec<BlockId>> {
        if count > self.free {
            return None;
        }
        let mut taken = Vec::with_capacity(count);
        for _ in 0..count {
            let id = self.head;
            self.unlink(id);
            let block = &mut self.blocks[id as usize];
            block.references = 1;
            if let Some(hash) = block.hash.take() {
                self.cached.remove(&hash);
            }
            taken.push(id);
        }
        Some(taken)
    }

    /// Makes a full block findable by its hash. The first block of a hash stays.
    pub fn publish(&mut self, block: BlockId, hash: BlockHash) {
        if self.caching && self.blocks[block as usize].hash.is_none() {
            self.cached.entry(hash).or_insert_with(|| {
                self.blocks[block as usize].hash = Some(hash);
                block
            });
        }
    }

    /// Drops a request's references. The last blocks go to the queue first: the
    /// end of a prefix is worth less than its start.
    pub fn release(&mut self, blocks: &[BlockId]) {
        for id in blocks.iter().rev() {
            let block = &mut self.blocks[*id as usize];
            block.references -= 1;
            if block.references == 0 {
                self.push_free(*id);
            }
        }
    }

    /// Forgets every cached prefix. False, and nothing done, while blocks are in use.
    pub fn reset(&mut self) -> bool {
        if self.free != self.blocks.len() {
            return false;
        }
        self.cached.clear();
        for block in &mut self.blocks {
            block.hash = None;
        }
        true
    }

    fn push_free(&mut self, id: BlockId) {
        let tail = self.tail;
        let block = &mut self.blocks[id as usize];
        block.previous = tail;
        block.next = NONE;
        if tail == NONE {
            self.head = id;
        } else {
            self.blocks[tail as usize].next = id;
        }
        self.tail = id;
        self.free += 1;
    }

    fn unlink(&mut self, id: BlockId) {
        let (previous, next) = {
            let block = &self.blocks[id as usize];
            (block.previous, block.next)
        };
        match previous {
            NONE => self.head = next,
            _ => self.blocks[previous as usize].next = next,
        }
        match next {
            NONE => self.tail = previous,
            _ => self.blocks[next as usize].previous = previous,
        }
        self.free -= 1;
    }
}

/// The hashes of a growing sequence's full blocks, each over its own tokens and
/// the hash before it, so that equal hashes mean equal prefixes.
#[derive(Clone, Debug)]
pub struct HashChain {
    block_size: usize,
    pending: Vec<u32>,
    parent: BlockHash,
    hashes: Vec<BlockHash>,
}

impl HashChain {
    /// An empty chain. The salt separates sequences that must not share blocks.
    pub fn new(block_size: u64, salt: Option<&str>) -> Self {
        let mut seed = DefaultHasher::new();
        salt.hash(&mut seed);
        Self {
            block_size: block_size as usize,
            pending: Vec::with_capacity(block_size as usize),
            parent: seed.finish(),
            hashes: Vec::new(),
        }
    }

    /// Appends tokens.
    pub fn extend(&mut self, tokens: &[u32]) {
        for token in tokens {
            self.pending.push(*token);
            if self.pending.len() == self.block_size {
                let mut hasher = DefaultHasher::new();
                self.parent.hash(&mut hasher);
                self.pending.hash(&mut hasher);
                self.parent = hasher.finish();
                self.hashes.push(self.parent);
                self.pending.clear();
            }
        }
    }

    /// Hashes of all full blocks so far.
    pub fn hashes(&self) -> &[BlockHash] {
        &self.hashes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(tokens: &[u32], salt: Option<&str>) -> Vec<BlockHash> {
        let mut chain = HashChain::new(4, salt);
        chain.extend(tokens);
        chain.hashes().to_vec()
    }

    #[test]
    fn equal_prefixes_share_hashes_and_a_salt_separates_them() {
        let left = chain(&[1, 2, 3, 4, 5, 6, 7, 8, 9], None);
        let right = chain(&[1, 2, 3, 4, 5, 6, 7, 0], None);
        assert_eq!(left.len(), 2);
        assert_eq!(left[0], right[0]);
        assert_ne!(left[1], right[1]);
        assert_ne!(chain(&[1, 2, 3, 4], Some("a"))[0], left[0]);
    }

    #[test]
    fn a_released_prefix_is_found_again_until_it_is_evicted() {
        let mut cache = KvCache::new(4, 4, true);
        let hashes = chain(&[1, 2, 3, 4, 5, 6, 7, 8], None);
        let blocks = cache.take(2).unwrap();
        cache.publish(blocks[0], hashes[0]);
        cache.publish(blocks[1], hashes[1]);
        cache.release(&blocks);
        assert_eq!(cache.lookup(&hashes), blocks);
        // Two blocks were never used and go first; the third evicts the prefix's end.
        let _others = cache.take(3).unwrap();
        assert_eq!(cache.lookup(&hashes), blocks[..1]);
        assert!(cache.take(2).is_none());
    }

    #[test]
    fn without_caching_nothing_is_found() {
        let mut cache = KvCache::new(4, 4, false);
        let hashes = chain(&[1, 2, 3, 4], None);
        let blocks = cache.take(1).unwrap();
        cache.publish(blocks[0], hashes[0]);
        assert!(cache.lookup(&hashes).is_empty());
    }

    #[test]
    fn reset_is_refused_while_blocks_are_in_use() {
        let mut cache = KvCache::new(4, 4, true);
        let blocks = cache.take(1).unwrap();
        cache.publish(blocks[0], 7);
        assert!(!cache.reset());
        cache.release(&blocks);
        assert!(cache.reset());
        assert!(cache.lookup(&[7]).is_empty());
    }

    proptest! {
        /// However blocks are taken, shared and released, none is lost or doubled.
        #[test]
        fn blocks_are_conserved(actions in prop::collection::vec((0u8..3, 0usize..6, 0u64..8), 1..200)) {
            let mut cache = KvCache::new(16, 4, true);
            let mut requests: Vec<Vec<BlockId>> = Vec::new();
            for (action, count, hash) in actions {
                match action {
                    0 => if let Some(blocks) = cache.take(count) {
                        if let Some(first) = blocks.first() { cache.publish(*first, hash); }
                        requests.push(blocks);
                    },
                    1 => {
                        let found = cache.lookup(&[hash]);
                        cache.share(&found);
                        requests.push(found);
                    }
                    _ => if !requests.is_empty() {
                        let blocks = requests.remove(count % requests.len());
                        cache.release(&blocks);
                    },
                }
                let mut used: Vec<BlockId> = requests.iter().flatten().copied().collect();
                used.sort_unstable();
                used.dedup();
                prop_assert_eq!(cache.free_blocks() + used.len(), 16);
            }
        }
    }
}
