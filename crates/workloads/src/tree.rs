//! Parse trees, after Zorn and Grunwald's and Berger's description of programs like espresso, p2c and gcc ("Reconsidering
//! custom memory allocation", OOPSLA 2002): text is read into nodes of several sizes with names in strings of their own;
//! passes replace parts of the tree; some trees stay for a while, most are torn down at once.

use crate::c::{CBox, CVec};
use crate::work::{Outcome, Rng, Setup, Tally, together};

type Link = CBox<Node>;

enum Node {
    Number(u64),
    Name(CVec<u8>),
    Binary { operator: u8, left: Link, right: Link },
    Call { name: CVec<u8>, arguments: Option<CBox<Argument>> },
}

struct Argument {
    value: Link,
    next: Option<CBox<Argument>>,
}

pub fn run(setup: &Setup) -> Outcome {
    const KEPT: usize = 200;
    let rounds = setup.share(150_000);
    let prepare = |number| {
        let kept: Vec<Option<Link>> = (0..KEPT).map(|_| None).collect();
        (setup.rng(number), Vec::<u8>::with_capacity(1 << 20), kept)
    };
    together(setup, prepare, |_, (mut rng, mut text, mut kept): (Rng, Vec<u8>, Vec<Option<Link>>)| {
        let mut tally = Tally::default();
        for _ in 0..rounds {
            text.clear();
            write(&mut rng, 7, &mut text);
            let mut parser = Parser { text: &text, at: 0, nodes: 0 };
            let tree = parser.sum();
            tally.operations += parser.nodes;
            let tree = fold(tree, &mut tally);
            tally.count(value(&tree));
            if rng.below(4) == 0 {
                kept[rng.below(KEPT)] = Some(tree);
            }
        }
        tally
    })
}

/// A random expression.
fn write(rng: &mut Rng, depth: usize, text: &mut Vec<u8>) {
    let name = |rng: &mut Rng, text: &mut Vec<u8>| {
        let len = rng.between(1, 12).max(rng.between(1, 12));
        text.extend((0..len).map(|_| b'a' + rng.below(26) as u8));
    };
    let kind = if depth == 0 { 8 + rng.below(2) } else { rng.below(10) };
    match kind {
        0..6 => {
            text.push(b'(');
            write(rng, depth - 1, text);
            text.push(*b"+-*".get(rng.below(3)).unwrap_or(&b'+'));
            write(rng, depth - 1, text);
            text.push(b')');
        }
        6..8 => {
            name(rng, text);
            text.push(b'(');
            for argument in 0..rng.between(1, 3) {
                if argument > 0 {
                    text.push(b',');
                }
                write(rng, depth - 1, text);
            }
            text.push(b')');
        }
        8 => text.extend(rng.below(10_000).to_string().bytes()),
        _ => name(rng, text),
    }
}

/// By recursive descent. What can't be read is zero, so that there is nothing to fail.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    nodes: u64,
}

impl Parser<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn node(&mut self, node: Node) -> Link {
        self.nodes += 1;
        CBox::new(node)
    }

    fn sum(&mut self) -> Link {
        let mut left = self.product();
        while let operator @ (b'+' | b'-') = self.peek() {
            self.at += 1;
            let right = self.product();
            left = self.node(Node::Binary { operator, left, right });
        }
        left
    }

    fn product(&mut self) -> Link {
        let mut left = self.primary();
        while self.peek() == b'*' {
            self.at += 1;
            let right = self.primary();
            left = self.node(Node::Binary { operator: b'*', left, right });
        }
        left
    }

    fn primary(&mut self) -> Link {
        match self.peek() {
            b'(' => {
                self.at += 1;
                let inner = self.sum();
                self.at += 1;
                inner
            }
            b'a'..=b'z' => {
                let name = self.name();
                match self.peek() {
                    b'(' => {
                        self.at += 1;
                        let arguments = self.arguments();
                        self.node(Node::Call { name, arguments })
                    }
                    _ => self.node(Node::Name(name)),
                }
            }
            _ => {
                let mut number = 0_u64;
                while self.peek().is_ascii_digit() {
                    number = number.wrapping_mul(10).wrapping_add(u64::from(self.peek() - b'0'));
                    self.at += 1;
                }
                self.node(Node::Number(number))
            }
        }
    }

    /// Letter by letter into a string that grows, as lexers do.
    fn name(&mut self) -> CVec<u8> {
        self.nodes += 1;
        let mut name = CVec::new();
        while self.peek().is_ascii_lowercase() {
            name.push(self.peek());
            self.at += 1;
        }
        name
    }

    fn arguments(&mut self) -> Option<CBox<Argument>> {
        let value = self.sum();
        let more = self.peek() == b',';
        self.at += 1;
        let next = if more { self.arguments() } else { None };
        self.nodes += 1;
        Some(CBox::new(Argument { value, next }))
    }
}

fn apply(operator: u8, left: u64, right: u64) -> u64 {
    match operator {
        b'+' => left.wrapping_add(right),
        b'-' => left.wrapping_sub(right),
        _ => left.wrapping_mul(right),
    }
}

/// Replaces what has only numbers below it by a number, and the tree above by a new one where something was replaced.
fn fold(mut tree: Link, tally: &mut Tally) -> Link {
    match &mut *tree {
        Node::Binary { operator, left, right } => {
            // What stands in for a moment is a node of its own.
            let stand_in = || CBox::new(Node::Number(0));
            *left = fold(std::mem::replace(left, stand_in()), tally);
            *right = fold(std::mem::replace(right, stand_in()), tally);
            tally.operations += 2;
            if let (Node::Number(a), Node::Number(b)) = (&**left, &**right) {
                tally.operations += 1;
                return CBox::new(Node::Number(apply(*operator, *a, *b)));
            }
        }
        Node::Call { arguments, .. } => {
            let mut rest = arguments;
            while let Some(argument) = rest {
                let old = std::mem::replace(&mut argument.value, CBox::new(Node::Number(0)));
                argument.value = fold(old, tally);
                tally.operations += 1;
                rest = &mut argument.next;
            }
        }
        Node::Number(_) | Node::Name(_) => {}
    }
    tree
}

fn spelled(name: &[u8]) -> u64 {
    name.iter().fold(0, |sum, letter| sum.wrapping_mul(31).wrapping_add(u64::from(*letter)))
}

fn value(tree: &Node) -> u64 {
    match tree {
        Node::Number(number) => *number,
        Node::Name(name) => spelled(name),
        Node::Binary { operator, left, right } => apply(*operator, value(left), value(right)),
        Node::Call { name, arguments } => {
            let mut sum = spelled(name);
            let mut rest = arguments;
            while let Some(argument) = rest {
                sum = sum.wrapping_mul(31).wrapping_add(value(&argument.value));
                rest = &argument.next;
            }
            sum
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c::live::ONE;

    #[test]
    fn expressions_are_read_folded_and_worth_the_same_after() {
        let _alone = ONE.lock().unwrap();
        let read = |text: &str| Parser { text: text.as_bytes(), at: 0, nodes: 0 }.sum();
        assert_eq!(value(&read("((1+2)*3-4)")), 5);
        assert_eq!(value(&read("b")), 98);
        let folded = fold(read("(1+2*3)"), &mut Tally::default());
        assert!(matches!(&*folded, Node::Number(7)));
        for text in ["f((1+2),x)", "(x+(2*3))", "g(h(1,2),(3-a),4)"] {
            assert_eq!(value(&fold(read(text), &mut Tally::default())), value(&read(text)), "{text}");
        }
    }
}
