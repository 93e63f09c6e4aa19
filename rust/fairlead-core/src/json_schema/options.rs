//! How a schema is read and how its instances are written.

/// A version of the JSON Schema standard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Draft {
    /// Draft 3, which is refused: its keywords mean other things under the same names.
    Draft3,
    /// Draft 4.
    Draft4,
    /// Draft 6.
    Draft6,
    /// Draft 7.
    Draft7,
    /// Draft 2019-09.
    Draft201909,
    /// Draft 2020-12, named by the schema or by the user.
    Draft202012,
    /// No `$schema`: 2020-12 with the legacy keywords in their old meaning.
    Unnamed,
}

impl Draft {
    /// The draft that a `$schema` names.
    pub fn of_uri(uri: &str) -> Option<Self> {
        let uri = uri.trim_end_matches('#').trim_end_matches('/');
        let uri = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"))?;
        Some(match uri {
            "json-schema.org/draft-03/schema" => Self::Draft3,
            "json-schema.org/draft-04/schema" => Self::Draft4,
            "json-schema.org/draft-06/schema" => Self::Draft6,
            "json-schema.org/draft-07/schema" => Self::Draft7,
            "json-schema.org/draft/2019-09/schema" => Self::Draft201909,
            "json-schema.org/draft/2020-12/schema" => Self::Draft202012,
            _ => return None,
        })
    }

    /// The draft of a short name such as `draft7` or `2020-12`.
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name.trim_start_matches("draft").trim_start_matches('-') {
            "4" => Self::Draft4,
            "6" => Self::Draft6,
            "7" => Self::Draft7,
            "2019-09" => Self::Draft201909,
            "2020-12" => Self::Draft202012,
            _ => return None,
        })
    }

    pub(super) fn ref_hides_siblings(self) -> bool {
        self <= Self::Draft7
    }
    pub(super) fn has_legacy_id(self) -> bool {
        matches!(self, Self::Draft4 | Self::Unnamed)
    }
    pub(super) fn has_legacy_anchors(self) -> bool {
        self <= Self::Draft7 || self == Self::Unnamed
    }
}

/// Where whitespace may stand between the tokens of JSON.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Whitespace {
    /// At each place nothing, one or two spaces, or a line feed and up to this many spaces or tabs.
    Bounded(u32),
    /// Nowhere.
    Compact,
    /// Any amount at each place.
    Free,
    /// So many characters at each place, at most.
    AtMost(u32),
    /// Exactly these separators between items and after keys, and nothing elsewhere.
    Separators {
        /// Between items and members, such as `", "`.
        item: String,
        /// Between a key and its value, such as `": "`.
        key: String,
    },
    /// The same with each item and member on a line of its own, further in by `indent` for each array and object around it, as
    /// pretty printers write; nothing inside of empty ones. Values lie in at most [`MAX_INDENTED`] others.
    Indented {
        /// Spaces or tabs.
        indent: String,
        /// Between items and members, such as `","`.
        item: String,
        /// Between a key and its value, such as `": "`.
        key: String,
    },
}

impl Whitespace {
    /// What is wrong with a schema of which no value can be written.
    pub(crate) fn no_value(&self) -> String {
        match self {
            Self::Indented { .. } => {
                format!("no JSON value satisfies this schema that is nested at most {MAX_INDENTED} deep")
            }
            _ => "no JSON value satisfies this schema".to_owned(),
        }
    }
}

/// In how many arrays and objects values lie at most where each depth is written in its own way.
pub const MAX_INDENTED: u32 = 32;

/// Options of a JSON Schema grammar.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct JsonOptions {
    /// Whitespace between tokens. Default `Bounded(64)`.
    pub whitespace: Whitespace,
    /// Members come in any order rather than in the schema's. Default false.
    pub any_order: bool,
    /// Whole numbers may have a fraction of zeros. Default false.
    pub integer_fraction: bool,
    /// `format` constrains, for the formats that are known. Default true.
    pub format_assertion: bool,
    /// The draft, whatever `$schema` says. Default: what `$schema` says.
    pub draft: Option<Draft>,
    /// Documents that references may name: URI and schema text.
    pub resources: Vec<(String, String)>,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            whitespace: Whitespace::Bounded(64),
            any_order: false,
            integer_fraction: false,
            format_assertion: true,
            draft: None,
            resources: Vec::new(),
        }
    }
}

impl JsonOptions {
    pub(crate) fn bytes(&self) -> usize {
        self.resources.iter().map(|(uri, text)| uri.len() + text.len()).sum()
    }
}
