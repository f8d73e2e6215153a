//! One thread's chance: how far it is to the next sample, in bytes where these are counted and in pushes where only those are.
//! See the module above.

use crate::cache::{LOOKED, MEDIUM_LIMIT, SMALL_LIMIT};
use crate::chunk::{Chunk, SECRET, State};
use crate::size::{ALIGN, CLASSES, OVERHEAD, SMALL_MAX, class_of, class_size};
use crate::sync::atomic::Ordering::Relaxed;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Off,
    /// Chunks are marked as they enter the cache.
    Marks,
    /// Every allocation is counted.
    Exact,
}

/// Which chunks are marked: up to this many bytes. Longer ones are counted as they leave the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    pub bytes: usize,
    /// Requests above the exact classes that the fast path may serve: those below this many bytes, so that no chunk that it takes is
    /// longer than what is marked.
    pub medium_limit: u32,
}

impl Reach {
    /// The exact classes alone.
    pub const NARROW: Reach = Reach { bytes: SMALL_MAX, medium_limit: SMALL_LIMIT as u32 };
    /// Others too.
    pub const WIDE: Reach = Reach::up_to(4096);
    /// All, and none is marked.
    const ALL: Reach = Reach { bytes: 0, medium_limit: MEDIUM_LIMIT };

    /// What is shorter than the first chunk of the class that begins with `end`.
    const fn up_to(end: usize) -> Reach {
        let below = class_size(class_of(end) - 1);
        Reach { bytes: end - ALIGN, medium_limit: (below - OVERHEAD + 1) as u32 }
    }
}

const _: () = assert!(class_size(class_of(Reach::WIDE.bytes + ALIGN)) == Reach::WIDE.bytes + ALIGN);
const _: () = assert!(class_of(Reach::WIDE.bytes) < CLASSES - 1);

/// Chunks above the exact classes that were counted since the last candidate, for the reach to be worth widening: a candidate costs
/// as much as some five of them, and there will be four times as many.
const MANY: u32 = 40;
/// A candidate above the exact classes keeps the reach wide for so many that aren't, and no run of them for longer than so many.
const WORTH: u32 = 16;
const WORTH_MAX: u32 = 64;

#[derive(Clone, Copy)]
pub struct Sampler {
    /// What `TURN` was when the thread last followed it.
    pub turn: u32,
    mode: Mode,
    pub reach: Reach,
    interval: u64,
    /// Bytes that go by before the next sample, of those that are counted.
    bytes: u64,
    /// Fast pushes up to the next candidate, itself included; for ever where nothing is marked.
    pushes: u64,
    /// The candidate is hit if it is longer than this.
    offset: usize,
    /// What `Head::until_look` was set to.
    look_from: u32,
    /// It was set to that because that push is the candidate.
    pub is_awaited: bool,
    /// Chunks above the exact classes that were counted since the last candidate; while the reach is wide, what keeps it so.
    mediums: u32,
    random: u64,
    /// The thread's stack, as far as it was found to be in one piece with its upper end.
    pub stack: (usize, usize),
    /// The thread is in no profile: it reads one.
    pub is_left_out: bool,
    /// What came out of the cache by the slow path, if anything did: was it marked?
    pub popped: Option<bool>,
}

impl Sampler {
    /// Of a thread that has heard of no profile yet.
    pub const NEW: Sampler = Sampler {
        turn: 0,
        mode: Mode::Off,
        reach: Reach::ALL,
        interval: 1,
        bytes: 0,
        pushes: u64::MAX,
        offset: 0,
        look_from: LOOKED,
        is_awaited: false,
        mediums: 0,
        random: 0,
        stack: (0, 0),
        is_left_out: false,
        popped: None,
    };

    #[inline(always)]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Are chunks of so many bytes marked?
    #[inline(always)]
    pub fn marks(&self, size: usize) -> bool {
        size <= self.reach.bytes
    }

    pub fn begin(&mut self, turn: u32, mode: Mode, interval: u64) {
        let here = &raw const *self as u64;
        let seed = SECRET.load(Relaxed).rotate_left(23) ^ here ^ u64::from(turn) << 48 ^ crate::arch::cycles();
        self.begin_by(seed, turn, mode, interval);
    }

    fn begin_by(&mut self, seed: u64, turn: u32, mode: Mode, interval: u64) {
        *self = Sampler { turn, mode, interval, is_left_out: self.is_left_out, stack: self.stack, ..Sampler::NEW };
        self.random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        if mode == Mode::Off {
            return;
        }
        self.next();
        self.bytes = self.draw();
        if mode == Mode::Marks {
            self.set_reach(Reach::NARROW);
        }
    }

    /// xorshift64* (Vigna 2016).
    fn next(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Bytes to the next sample, if each byte is as likely.
    fn draw(&mut self) -> u64 {
        if self.interval <= 1 {
            return 0;
        }
        let random = self.next();
        exponential(random, self.interval)
    }

    /// From here on chunks within this reach are marked. Forgets the next candidate, as any draw may be forgotten before its time.
    pub fn set_reach(&mut self, reach: Reach) {
        self.reach = reach;
        self.mediums = if reach == Reach::WIDE { WORTH_MAX } else { 0 };
        self.draw_candidate();
    }

    /// Each push is as if it had the bytes of the longest chunk that is marked, of which its own are the first. Where the next byte to
    /// be sampled lies is drawn: that push is the candidate, and it is hit if the byte is one of its own. So a push is hit exactly as
    /// often as its bytes are, without anybody having counted them. Those behind it begin anew.
    fn draw_candidate(&mut self) {
        let bytes = self.draw();
        let each = self.reach.bytes.max(1) as u64;
        self.pushes = bytes / each + 1;
        self.offset = (bytes % each) as usize;
    }

    /// So many bytes were allocated in one piece: is that piece a sample?
    #[inline]
    pub fn count(&mut self, bytes: usize) -> bool {
        if self.bytes >= bytes as u64 {
            self.bytes -= bytes as u64;
            return false;
        }
        self.bytes = self.draw();
        true
    }

    /// Could a chunk of up to so many bytes be one?
    #[inline]
    pub fn is_due_within(&self, bytes: usize) -> bool {
        self.bytes < bytes as u64
    }

    /// A chunk above the exact classes was counted. Are there so many that it is better to mark them?
    #[inline]
    pub fn counts_many(&mut self, request: usize) -> bool {
        if request >= Reach::WIDE.medium_limit as usize {
            return false;
        }
        self.mediums += 1;
        self.mediums > MANY
    }

    /// As `count` for each chunk of a class, all of `size` bytes and cached: hits are marked.
    pub fn mark_some(&mut self, size: usize, users: &[usize]) {
        let (size, total) = (size as u64, users.len() as u64 * size as u64);
        while self.bytes < total {
            let index = self.bytes.checked_div(size).unwrap_or(u64::MAX);
            let Some(&user) = users.get(index as usize) else { break };
            let chunk = Chunk::from_user(user);
            if chunk.is_exactly(State::Cached) {
                chunk.set_state(chunk.size(), State::Marked);
            }
            self.bytes = (index + 1) * size + self.draw();
        }
        self.bytes = self.bytes.saturating_sub(total);
    }

    /// As `mark_some` for chunks of any size, some of which may bear the mark of a chance that is no longer theirs.
    #[cold]
    pub fn mark_anew(&mut self, users: &[usize]) {
        for chunk in users.iter().map(|&user| Chunk::from_user(user)) {
            let size = chunk.size();
            let is_hit = self.marks(size) && self.count(size);
            if chunk.is_exactly(if is_hit { State::Cached } else { State::Marked }) {
                chunk.set_state(size, if is_hit { State::Marked } else { State::Cached });
            }
        }
    }

    /// A slow path came by, `until_look` pushes before it had to. Gives what the head is to count down from next, so that it stops at
    /// the candidate; `other` is where it would stop for others.
    #[inline(always)]
    pub fn look(&mut self, until_look: u32, other: u32) -> u32 {
        if self.mode != Mode::Marks {
            return other;
        }
        // The one that counts down to 0 takes the slow path, and pushes nothing before that is over.
        let passed = self.look_from.wrapping_sub(until_look).wrapping_sub(u32::from(until_look == 0));
        self.pushes = self.pushes.saturating_sub(u64::from(passed)).max(1);
        self.look_from(other)
    }

    /// As `look`, where nothing passed.
    #[inline(always)]
    pub fn look_from(&mut self, other: u32) -> u32 {
        self.is_awaited = self.mode == Mode::Marks && self.pushes <= u64::from(other);
        self.look_from = if self.is_awaited { self.pushes as u32 } else { other };
        self.look_from
    }

    /// Is the next push the candidate?
    #[inline(always)]
    pub fn is_candidate(&self) -> bool {
        self.pushes == 1
    }

    /// The candidate is about to be pushed: counts down to the next one. Gives what `look` does, and the bytes beyond which the one
    /// that is pushed now is hit.
    #[inline(always)]
    pub fn candidate(&mut self, other: u32) -> (u32, usize) {
        let offset = self.offset;
        self.draw_candidate();
        // Itself is still to be counted.
        self.pushes += 1;
        (self.look_from(other), offset)
    }

    /// It couldn't be pushed: the next one that can is the candidate.
    pub fn postpone(&mut self, offset: usize) -> u32 {
        (self.pushes, self.offset) = (1, offset);
        self.look_from(LOOKED)
    }

    /// A candidate of this many bytes was pushed. `false` where too few are longer than the exact classes for the reach to be wide.
    #[inline]
    pub fn is_worth_its_reach(&mut self, size: usize) -> bool {
        if self.reach == Reach::NARROW {
            self.mediums = 0;
            return true;
        }
        self.mediums = if size > SMALL_MAX { self.mediums + WORTH } else { self.mediums.saturating_sub(1) };
        self.mediums = self.mediums.min(WORTH_MAX);
        self.mediums > 0
    }
}

/// How likely a piece of this many bytes is a sample: `1 - exp(-bytes / interval)`.
pub fn chance(bytes: u64, interval: u64) -> f64 {
    let ratio = bytes as f64 / interval.max(1) as f64;
    if interval <= 1 || ratio > 40.0 {
        return 1.0;
    }
    // 1 - exp(-x) by its series for small x; and of 2x from that of x.
    const HALVINGS: u32 = 10;
    let x = ratio / f64::from(1 << HALVINGS);
    let small = x * (1.0 - x / 2.0 * (1.0 - x / 3.0 * (1.0 - x / 4.0)));
    (0..HALVINGS).fold(small, |chance, _| chance * (2.0 - chance))
}

/// `-mean * ln(u)`, where u is the random number as one between 0 and 1.
fn exponential(random: u64, mean: u64) -> u64 {
    const BITS: u32 = 52;
    let u = random >> (64 - BITS) | 1;
    let exponent = 63 - u.leading_zeros();
    let mantissa = f64::from_bits(1023 << BITS | (u << (BITS - exponent)) & ((1 << BITS) - 1));
    // ln m = 2 artanh((m - 1) / (m + 1)), whose series goes fast for m below 2.
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series = [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0, 1.0];
    let series = series.into_iter().fold(1.0 / 15.0, |sum, term| sum * square + term);
    let logarithm = 2.0 * t * series - f64::from(BITS - exponent) * core::f64::consts::LN_2;
    // Numbers with a sign are turned into each other at once.
    (-logarithm * mean.min(i64::MAX as u64) as i64 as f64) as i64 as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::{ALIGN, MIN_CHUNK};

    /// The same figures in each run.
    const SEED: u64 = 20_261_130;

    #[test]
    fn every_size_is_estimated_without_bias() {
        // A small interval, so that there are many samples: what is due to chance is far below what a bias of a hundredth would be.
        const INTERVAL: u64 = 4096;
        const BYTES: u64 = 400_000_000;
        let exact = (MIN_CHUNK..=SMALL_MAX).step_by(ALIGN);
        for size in exact.chain([1040, 2048, 5000, 65_536, 1 << 20]) {
            let mut sampler = Sampler::NEW;
            sampler.begin_by(SEED + size as u64, 1, Mode::Marks, INTERVAL);
            let pieces = BYTES / size as u64;
            let hits = (0..pieces).filter(|_| sampler.count(size)).count() as f64;
            // What a reader makes of it: each stands for as many as its chance says.
            let estimate = hits / chance(size as u64, INTERVAL);
            let spread = 5.0 / hits.sqrt();
            assert!((estimate / pieces as f64 - 1.0).abs() < spread.min(0.02), "{size}: {estimate} of {pieces}");
        }
    }

    #[test]
    fn the_distances_are_those_of_a_poisson_process() {
        for random in [1u64, 1 << 40, 1 << 63, u64::MAX, 0x1234_5678_9abc_def0] {
            let u = (random >> 12 | 1) as f64 / (1u64 << 52) as f64;
            let right = -u.ln() * 1e9;
            assert!((exponential(random, 1_000_000_000) as f64 - right).abs() < 10.0 + right * 1e-6, "{random:x}");
        }
    }

    #[test]
    fn the_chance_of_a_piece_is_what_its_length_says() {
        for bytes in [16u64, 1000, 500_000, 1 << 20, 5 << 20, 1 << 40] {
            let right = -(-(bytes as f64) / (512.0 * 1024.0)).exp_m1();
            assert!((chance(bytes, 512 << 10) / right - 1.0).abs() < 1e-9, "{bytes}");
        }
        assert_eq!(chance(16, 1), 1.0);
    }

    #[test]
    fn a_piece_is_hit_as_often_as_its_length_says() {
        const INTERVAL: u64 = 512 << 10;
        const ROUNDS: u32 = 2_000_000;
        let mut sampler = Sampler::NEW;
        sampler.begin_by(SEED, 1, Mode::Marks, INTERVAL);
        for size in [32usize, 1024, 65_536, 1 << 20] {
            let hits = (0..ROUNDS).filter(|_| sampler.count(size)).count() as f64;
            let right = f64::from(ROUNDS) * (1.0 - (-(size as f64) / INTERVAL as f64).exp());
            // Five times the spread of such counts.
            assert!((hits - right).abs() < 5.0 * right.sqrt() + 1.0, "{size}: {hits}, {right}");
        }
    }

    /// Pushes as `cache::park_in` and `free::look` have them, with slow paths in between as often as `is_slow` says: how many of them
    /// are hit, if `size` gives their bytes.
    fn hits(sampler: &mut Sampler, pushes: u64, size: impl Fn(u64) -> usize, is_slow: impl Fn(u64) -> bool) -> u64 {
        let (mut hits, mut until_look) = (0, sampler.look_from(LOOKED));
        for push in 0..pushes {
            if is_slow(push) && !(sampler.is_awaited && until_look > 1) {
                until_look = sampler.look(until_look, LOOKED);
            }
            until_look -= 1;
            if until_look == 0 {
                until_look = sampler.look(0, LOOKED);
                if sampler.is_candidate() {
                    let (next, offset) = sampler.candidate(LOOKED);
                    until_look = next;
                    // One in three can't be pushed, comes by a slow path, and is tried again.
                    if push % 3 == 0 {
                        until_look = sampler.postpone(offset);
                        assert!(until_look == 1 && sampler.is_candidate());
                        until_look = sampler.candidate(LOOKED).0;
                    }
                    hits += u64::from(size(push) > offset);
                }
                until_look -= 1;
            }
        }
        hits
    }

    #[test]
    fn pushes_of_every_size_are_hit_as_often_as_their_bytes_are() {
        const INTERVAL: u64 = 128 << 10;
        const PUSHES: u64 = 2_000_000;
        let narrow = [32, 64, 500, 1024].map(|size| (Reach::NARROW, size));
        let wide = [32, 64, 1024, 1040, 2000, 3584, 4080].map(|size| (Reach::WIDE, size));
        let seldom: fn(u64) -> bool = |_| false;
        let often: fn(u64) -> bool = |push| push.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0;
        for ((reach, size), is_slow) in
            narrow.into_iter().chain(wide).flat_map(|it| [(it, seldom), (it, often), (it, |_| true)])
        {
            let mut sampler = Sampler::NEW;
            sampler.begin_by(SEED + size as u64, 1, Mode::Marks, INTERVAL);
            sampler.set_reach(reach);
            let hits = hits(&mut sampler, PUSHES, |_| size, is_slow) as f64;
            let right = PUSHES as f64 * chance(size as u64, INTERVAL);
            assert!((hits - right).abs() < 5.0 * right.sqrt(), "{size} in {reach:?}: {hits}, {right}");
        }
    }

    #[test]
    fn a_mixture_is_hit_as_often_as_each_of_its_sizes() {
        const INTERVAL: u64 = 128 << 10;
        const PUSHES: u64 = 8_000_000;
        const SIZES: [usize; 4] = [48, 1024, 1152, 4080];
        for (counted, bytes) in SIZES.into_iter().enumerate() {
            let mut sampler = Sampler::NEW;
            sampler.begin_by(SEED, 1, Mode::Marks, INTERVAL);
            sampler.set_reach(Reach::WIDE);
            // The others are as if they had no bytes: then they can't be hit.
            let which = |push: u64| (push.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) as usize;
            let size = |push| if which(push) == counted { bytes } else { 0 };
            let hits = hits(&mut sampler, PUSHES, size, |push| push % 5 == 0) as f64;
            let count = (0..PUSHES).filter(|&push| which(push) == counted).count() as f64;
            let right = count * chance(bytes as u64, INTERVAL);
            assert!((hits - right).abs() < 5.0 * right.sqrt(), "{bytes}: {hits}, {right}");
        }
    }

    #[test]
    fn the_fast_path_takes_no_chunk_that_is_out_of_reach() {
        use crate::size::{CACHED_MAX, class_above, rounded};
        for request in SMALL_LIMIT..CACHED_MAX - OVERHEAD - ALIGN {
            let class = class_above(rounded(request));
            let longest = if class + 1 == CLASSES { CACHED_MAX } else { class_size(class + 1) - ALIGN };
            for reach in [Reach::NARROW, Reach::WIDE] {
                let is_taken = request < reach.medium_limit as usize;
                assert!(!is_taken || longest <= reach.bytes, "{request} in {reach:?}");
                // Whatever else could be, is counted.
                assert!(
                    is_taken || class_size(class) > reach.bytes || reach == Reach::NARROW,
                    "{request} in {reach:?}"
                );
            }
        }
    }

    #[test]
    fn the_reach_follows_what_is_asked_for() {
        let mut sampler = Sampler::NEW;
        sampler.begin_by(SEED, 1, Mode::Marks, 512 << 10);
        assert!(sampler.reach == Reach::NARROW);
        assert!((0..=MANY).map(|_| sampler.counts_many(2000)).filter(|&many| many).count() == 1);
        assert!(sampler.is_worth_its_reach(64), "it can't be narrower");
        assert!((0..1000).all(|_| !sampler.counts_many(5000)), "those are out of any reach");
        sampler.set_reach(Reach::WIDE);
        assert!((0..1000).all(|at| sampler.is_worth_its_reach(if at % 10 == 0 { 2000 } else { 64 })));
        assert!(!(0..1000).all(|at| sampler.is_worth_its_reach(if at % 40 == 0 { 2000 } else { 64 })));
    }

    #[test]
    fn an_interval_of_one_byte_takes_everything() {
        let mut sampler = Sampler::NEW;
        sampler.begin_by(SEED, 1, Mode::Exact, 1);
        assert!((0..1000).all(|_| sampler.count(32)));
    }
}
