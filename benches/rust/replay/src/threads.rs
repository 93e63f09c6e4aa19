//! The same instances on several threads at once, each with matchers of its own for grammars that all of them share.

use std::sync::{Arc, Barrier};
use std::time::Instant;

use fairlead_core::{CompiledGrammar, GrammarMatcher};

/// How often every instance is walked by each thread: once where each thread finds what the others are just working out, and then
/// where everything is known.
const ROUNDS: [(&str, usize); 2] = [("first visits", 1), ("known", 10)];

/// A grammar and the tokens of its instances.
pub struct Walk {
    pub compiled: Arc<CompiledGrammar>,
    pub tests: Vec<Vec<u32>>,
}

/// Walks everything on so many threads, one grammar after the other, and prints how many steps they take in a second together.
pub fn run(walks: &[Walk], threads: usize, words: usize) {
    let barrier = Barrier::new(threads);
    let origin = Instant::now();
    let one = || {
        let mut row = vec![0u32; words];
        let mut found = ROUNDS.map(|_| (0usize, Vec::with_capacity(walks.len())));
        for walk in walks {
            for ((_, rounds), (steps, spans)) in ROUNDS.iter().zip(&mut found) {
                barrier.wait();
                let start = origin.elapsed();
                for _ in 0..*rounds {
                    *steps += walk.tests.iter().map(|tokens| instance(&walk.compiled, tokens, &mut row)).sum::<usize>();
                }
                spans.push((start, origin.elapsed()));
            }
        }
        found
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for (kind, (name, _)) in ROUNDS.iter().enumerate() {
        let of_kind: Vec<_> = found.iter().map(|of_thread| &of_thread[kind]).collect();
        let steps: usize = of_kind.iter().map(|(steps, _)| steps).sum();
        let spent = (0..walks.len()).map(|i| {
            let start = of_kind.iter().map(|(_, spans)| spans[i].0).min().unwrap_or_default();
            let end = of_kind.iter().map(|(_, spans)| spans[i].1).max().unwrap_or_default();
            (end - start).as_secs_f64()
        });
        let spent: f64 = spent.sum();
        println!(
            "{threads} threads, {name}: {steps} steps in {spent:.3} s, {:.3} million a second",
            steps as f64 / spent / 1e6
        );
    }
}

fn instance(compiled: &Arc<CompiledGrammar>, tokens: &[u32], row: &mut [u32]) -> usize {
    let mut matcher = GrammarMatcher::new(compiled, None, false);
    for (steps, &token) in tokens.iter().enumerate() {
        matcher.fill(row);
        if row[token as usize / 32] >> (token % 32) & 1 == 0 || !matcher.accept_token(token) {
            return steps + 1;
        }
    }
    tokens.len()
}
