//! Limits: counted, reproducible, never a matter of seconds.

/// What one grammar may cost. Every limit ends in an [`Error`](crate::Error) of kind `Limit`, raised by compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the source text of one grammar or schema. Default 16 MiB.
    pub max_source_bytes: usize,
    /// Depth of nesting in a schema, pattern or grammar. Default 256.
    pub max_depth: usize,
    /// Nodes that lowering one grammar may create. Default 2,000,000.
    pub max_nodes: usize,
    /// The largest count in a repetition `{m,n}`, `maxLength` or `maxItems` that is honoured. Default 2^31 - 1.
    pub max_repetition: u32,
    /// States that one question about emptiness may visit at compile time. Default 100,000.
    pub max_states: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_source_bytes: 16 << 20,
            max_depth: 256,
            max_nodes: 2_000_000,
            max_repetition: (1 << 31) - 1,
            max_states: 100_000,
        }
    }
}
