//! Replays MaskBench without Python: every schema compiled and every instance walked, once, in one cold process, so that a
//! profiler sees nothing but the engine.
//!
//! usage: replay FILE.jsonl [--only TEXT] [--flush MB] [--slow US] [--bare] [--lazy] [--budget N] [--threads N]
//!
//! `prepare.py` makes the file. `--flush` goes through so many MB of other memory before each schema, as a process does that has
//! other work between two requests; `--slow` lists the steps that take longer, with their page faults; `--bare` computes no hash
//! of the masks, which takes the caches from what is measured; with `--lazy` compiling doesn't walk ahead; `--budget` gives
//! each instance so many tokens. The allocator is
//! mimalloc as it is by itself: with huge pages, unless `MIMALLOC_ALLOW_THP=0` is in the environment. A step that made the engine's
//! memory grow is told apart as a first visit.
//! `--threads` measures something else: how many steps so many threads take together.

mod threads;

use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::Instant;

use fairlead_core::{Budget, Compiler, CompilerOptions, Grammar, GrammarMatcher, Vocabulary};
use serde_json::Value;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Options {
    file: String,
    only: String,
    flush: usize,
    slow: f64,
    bare: bool,
    lazy: bool,
    budget: Budget,
    threads: usize,
}

fn options() -> Options {
    let mut args = std::env::args().skip(1);
    let mut options = Options {
        file: String::new(),
        only: String::new(),
        flush: 0,
        slow: f64::INFINITY,
        bare: false,
        lazy: false,
        budget: Budget::default(),
        threads: 0,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--only" => options.only = value(),
            "--flush" => options.flush = value().parse().expect("a number of MB"),
            "--slow" => options.slow = value().parse().expect("a number of us"),
            "--bare" => options.bare = true,
            "--lazy" => options.lazy = true,
            "--budget" => options.budget.tokens = Some(value().parse().expect("a number of tokens")),
            "--threads" => options.threads = value().parse().expect("a number of threads"),
            _ => options.file = arg,
        }
    }
    options
}

fn vocabulary(line: &str) -> Arc<Vocabulary> {
    let whole: Value = serde_json::from_str(line).expect("JSON");
    let bytes = |hex: &str| {
        let at = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex");
        (0..hex.len()).step_by(2).map(at).collect::<Box<[u8]>>()
    };
    let tokens: Vec<_> = whole["tokens"].as_array().expect("tokens").iter().map(|t| t.as_str().map(bytes)).collect();
    let stop = whole["stop"].as_array().expect("stop ids").iter().map(|id| id.as_u64().expect("an id") as u32);
    let size = tokens.len();
    Arc::new(Vocabulary::new(tokens, stop.collect(), size).expect("a vocabulary"))
}

/// Times in microseconds.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn show(&mut self, name: &str) {
        self.0.sort_unstable_by(f64::total_cmp);
        let (n, sum) = (self.0.len(), self.0.iter().sum::<f64>());
        let at = |part: f64| self.0.get(((n as f64 * part) as usize).min(n.saturating_sub(1))).copied().unwrap_or(0.0);
        println!(
            "{name:14} {n:8}  avg {:8.2}  p50 {:8.2}  p90 {:8.2}  p99 {:8.2}  p99.9 {:9.2}  max {:9.0}  sum {:9.1} ms",
            sum / n.max(1) as f64,
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(1.0),
            sum / 1000.0
        );
    }
}

/// Page faults of this process so far, those of pages that had to be read from a disk left out.
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_whitespace().nth(7).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn tokens(test: &Value) -> impl Iterator<Item = u32> {
    test["tokens"].as_array().expect("tokens").iter().map(|t| t.as_u64().expect("an id") as u32)
}

/// A schema and its instances; None for one that the compiler refuses.
fn walk(compiler: &Compiler, line: &str, only: &str) -> Option<threads::Walk> {
    let entry: Value = serde_json::from_str(line).expect("JSON");
    if !entry["name"].as_str().expect("a name").contains(only) {
        return None;
    }
    let compiled = compiler.compile(&Grammar::json_schema(entry["schema"].as_str().expect("a schema"))).ok()?;
    let tests = entry["tests"].as_array().expect("tests").iter().map(|test| tokens(test).collect()).collect();
    Some(threads::Walk { compiled, tests })
}

fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

fn main() {
    let options = options();
    let file = std::fs::File::open(&options.file).expect("a file that prepare.py has written");
    let mut lines = BufReader::new(file).lines().map(|line| line.expect("text"));
    let start = Instant::now();
    let vocab = vocabulary(&lines.next().expect("a vocabulary"));
    println!("vocabulary {:.0} ms", since(start) / 1000.0);
    let start = Instant::now();
    let walk_ahead = !options.lazy;
    let compiler = Compiler::new(Arc::clone(&vocab), CompilerOptions { walk_ahead, ..CompilerOptions::default() });
    println!("compiler {:.0} ms, {:.1} MB", since(start) / 1000.0, compiler.cache_bytes() as f64 / 1e6);
    if options.threads > 0 {
        let walks: Vec<_> = lines.filter_map(|line| walk(&compiler, &line, &options.only)).collect();
        return threads::run(&walks, options.threads, vocab.words());
    }
    let (mut first, mut again, mut all) = (Times::default(), Times::default(), Times::default());
    let (mut compile, mut first_mask, mut whole) = (Times::default(), Times::default(), Times::default());
    let mut row = vec![0u32; vocab.words()];
    let mut hash = foldhash::quality::FixedState::default().build_hasher();
    let other: Vec<u64> = vec![1; options.flush << 17];
    for line in lines {
        let entry: Value = serde_json::from_str(&line).expect("JSON");
        let name = entry["name"].as_str().expect("a name");
        if !name.contains(&options.only) {
            continue;
        }
        black_box(other.iter().step_by(8).sum::<u64>());
        let start = Instant::now();
        let Ok(compiled) = compiler.compile(&Grammar::json_schema(entry["schema"].as_str().expect("a schema"))) else {
            continue;
        };
        compile.0.push(since(start));
        let mut matcher = GrammarMatcher::new(&compiled, None, false);
        matcher.fill(&mut row);
        let ttfm = since(start);
        first_mask.0.push(ttfm);
        let mut total = ttfm;
        for test in entry["tests"].as_array().expect("tests") {
            let mut matcher = GrammarMatcher::new(&compiled, None, false);
            if matcher.set_budget(options.budget).is_err() {
                continue;
            }
            for token in tokens(test) {
                let held = compiler.cache_bytes();
                let faulted = if options.slow.is_finite() { faults() } else { 0 };
                let start = Instant::now();
                matcher.fill(&mut row);
                let ok = row[token as usize / 32] >> (token % 32) & 1 == 1 && matcher.accept_token(token);
                let took = since(start);
                let new = compiler.cache_bytes() != held;
                if new { &mut first } else { &mut again }.0.push(took);
                all.0.push(took);
                total += took;
                if took > options.slow {
                    let text = String::from_utf8_lossy(matcher.text());
                    let end = text.char_indices().rev().nth(60).map_or(0, |(i, _)| i);
                    let faulted = faults() - faulted;
                    let visit = if new { "first" } else { "again" };
                    println!("{took:9.1} us {faulted:4} faults {visit} {name} {:?}", &text[end..]);
                }
                if !options.bare {
                    row.iter().for_each(|&word| hash.write_u32(word));
                }
                if !ok {
                    break;
                }
            }
        }
        whole.0.push(total);
    }
    for (name, times) in [
        ("compile", &mut compile),
        ("to first mask", &mut first_mask),
        ("schema in all", &mut whole),
        ("first visits", &mut first),
        ("other steps", &mut again),
        ("all steps", &mut all),
    ] {
        times.show(name);
    }
    println!("held {:.1} MB, hash {:016x}", compiler.cache_bytes() as f64 / 1e6, hash.finish());
}
