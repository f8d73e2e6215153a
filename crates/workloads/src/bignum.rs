//! Small natural numbers, each result an object of its own: what Zorn and Grunwald measured as cfrac, a program that factors
//! by continued fractions, and what interpreters with long integers do. Objects of 4 to 100 bytes that die young, in the
//! order of a calculation.

use crate::c::CVec;
use crate::work::{Outcome, Rng, Setup, Tally, together};

/// Limbs of 32 bits, the lowest first, the highest not zero.
struct Natural(CVec<u32>);

impl Natural {
    fn from(value: u32) -> Natural {
        Natural(CVec::from(&[value])).trimmed()
    }

    fn trimmed(mut self) -> Natural {
        let len = self.0.iter().rposition(|limb| *limb != 0).map_or(0, |at| at + 1);
        self.0.truncate(len);
        self
    }

    fn plus(&self, other: &Natural) -> Natural {
        let (long, short) = if self.0.len() >= other.0.len() { (self, other) } else { (other, self) };
        let mut sum = CVec::with_capacity(long.0.len() + 1);
        let mut carry = 0;
        for (at, limb) in long.0.iter().enumerate() {
            carry += u64::from(*limb) + short.0.get(at).map_or(0, |limb| u64::from(*limb));
            sum.push(carry as u32);
            carry >>= 32;
        }
        sum.push(carry as u32);
        Natural(sum).trimmed()
    }

    /// The other isn't larger.
    fn minus(&self, other: &Natural) -> Natural {
        let mut rest = CVec::with_capacity(self.0.len());
        let mut borrow = 0;
        for (at, limb) in self.0.iter().enumerate() {
            let less = i64::from(*limb) - other.0.get(at).map_or(0, |limb| i64::from(*limb)) - borrow;
            borrow = i64::from(less < 0);
            rest.push(less as u32);
        }
        Natural(rest).trimmed()
    }

    fn times(&self, other: &Natural) -> Natural {
        let mut product = CVec::zeroed(self.0.len() + other.0.len());
        for (low, a) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (high, b) in other.0.iter().enumerate() {
                carry += u64::from(product[low + high]) + u64::from(*a) * u64::from(*b);
                product[low + high] = carry as u32;
                carry >>= 32;
            }
            product[low + other.0.len()] = carry as u32;
        }
        Natural(product).trimmed()
    }

    fn over(&self, divisor: u32) -> Natural {
        let mut quotient = CVec::from(&self.0);
        let mut rest = 0_u64;
        for limb in quotient.iter_mut().rev() {
            let whole = rest << 32 | u64::from(*limb);
            *limb = (whole / u64::from(divisor)) as u32;
            rest = whole % u64::from(divisor);
        }
        Natural(quotient).trimmed()
    }

    fn digest(&self) -> u64 {
        self.0.iter().fold(0, |sum, limb| (sum ^ u64::from(*limb)).wrapping_mul(0x0100_0000_01b3))
    }
}

pub fn run(setup: &Setup) -> Outcome {
    let rounds = setup.share(150_000);
    let work = |_, mut rng: Rng| {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            convergents(&mut rng, &mut tally);
            // Between 2 and 9, so that the series is long enough to be one.
            let digest = arctangent(rng.between(2, 9) as u32, &mut tally).digest();
            tally.count(digest);
        }
        tally
    };
    together(setup, |number| setup.rng(number), work)
}

/// Convergents h/k of a random continued fraction, and after each the identity that holds between two of them:
/// the cross products differ by one.
fn convergents(rng: &mut Rng, tally: &mut Tally) {
    const TERMS: usize = 30;
    let (mut h, mut h_before) = (Natural::from(rng.between(1, 99) as u32), Natural::from(1));
    let (mut k, mut k_before) = (Natural::from(1), Natural::from(0));
    for term in 0..TERMS {
        let a = Natural::from(rng.between(1, 99) as u32);
        let h_next = a.times(&h).plus(&h_before);
        let k_next = a.times(&k).plus(&k_before);
        (h_before, h) = (h, h_next);
        (k_before, k) = (k, k_next);
        let (one, other) = (h.times(&k_before), h_before.times(&k));
        let difference = if term % 2 == 0 { one.minus(&other) } else { other.minus(&one) };
        assert_eq!(difference.0[..], [1]);
        // The results named above, and the two products that went into sums.
        tally.operations += 8;
        tally.count(h.digest());
    }
}

/// The arctangent of 1/n, times 2 to the power 224, by Gregory's series.
fn arctangent(n: u32, tally: &mut Tally) -> Natural {
    let mut power = CVec::zeroed(8);
    power[7] = 1;
    let mut power = Natural(power).over(n);
    let mut sum = Natural::from(0);
    for term in 0.. {
        let part = power.over(2 * term + 1);
        if part.0.is_empty() {
            break;
        }
        sum = if term % 2 == 0 { sum.plus(&part) } else { sum.minus(&part) };
        power = power.over(n * n);
        tally.operations += 3;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c::live::ONE;

    #[test]
    fn machins_formula_gives_pi() {
        let _alone = ONE.lock().unwrap();
        let mut tally = Tally::default();
        let four = Natural::from(4);
        // Pi = 16 arctan(1/5) - 4 arctan(1/239).
        let quarter = four.times(&arctangent(5, &mut tally)).minus(&arctangent(239, &mut tally));
        let pi = four.times(&quarter);
        // 3, and the first 64 bits behind the point.
        assert_eq!(pi.0[5..], [0x85a3_08d3, 0x243f_6a88, 3]);
    }

    #[test]
    fn borrow_and_carry_run_through() {
        let _alone = ONE.lock().unwrap();
        let one = Natural::from(1);
        let large = Natural(CVec::from(&[u32::MAX, u32::MAX]));
        assert_eq!(large.plus(&one).0[..], [0, 0, 1]);
        assert_eq!(large.plus(&one).minus(&one).0[..], large.0[..]);
        assert_eq!(large.times(&large).0[..], [1, 0, u32::MAX - 1, u32::MAX]);
        assert_eq!(Natural(CVec::from(&[0, 1])).over(2).0[..], [1 << 31]);
    }
}
