use alloc::string::String;
use core::fmt;

/// Why a tokenizer.json cannot be used. Nothing is guessed: a setting that would change ids and is not supported is an error.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The bytes are not JSON in UTF-8.
    Json {
        /// What the JSON reader says, with line and column.
        message: String,
    },
    /// A field is missing, of the wrong type, or set to something that is not supported.
    Field {
        /// The path of the field, such as `pre_tokenizer.pretokenizers[0].type`.
        field: String,
        /// What it may be.
        expected: &'static str,
        /// What it is, shortened.
        found: String,
    },
    /// An id of `model.vocab` is not below the number of tokens: the ids have a gap.
    VocabId {
        /// The token.
        token: String,
        /// Its id.
        id: u64,
        /// The number of tokens.
        size: usize,
    },
    /// Two tokens of `model.vocab` have one id.
    VocabIdTwice {
        /// The id.
        id: u32,
        /// The two tokens.
        tokens: [String; 2],
    },
    /// A merge names or makes a token that is not in `model.vocab`.
    MergeToken {
        /// The place in `model.merges`, from 0.
        index: usize,
        /// The token.
        token: String,
    },
    /// A pair stands twice in `model.merges`.
    MergeTwice {
        /// The place of the second in `model.merges`, from 0.
        index: usize,
        /// The pair.
        pair: [String; 2],
    },
    /// An added token is empty or stands twice in `added_tokens`.
    AddedToken {
        /// The place in `added_tokens`, from 0.
        index: usize,
        /// Its text.
        content: String,
    },
    /// The id of an added token is not the one of its text in the vocabulary, nor, for a new text, the next free one.
    AddedTokenId {
        /// The text.
        content: String,
        /// The id in the file.
        id: u64,
        /// The id that it must have.
        expected: u32,
    },
}

impl fmt::Display for TokenizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { message } => write!(f, "not valid JSON: {message}; download the file again"),
            Self::Field { field, expected, found } => write!(f, "`{field}` must be {expected}, but is {found}"),
            Self::VocabId { token, id, size } => {
                write!(
                    f,
                    "`model.vocab` gives {token:?} the id {id}, but its {size} tokens must have the ids 0 to {}",
                    size - 1
                )
            }
            Self::VocabIdTwice { id, tokens: [a, b] } => {
                write!(f, "`model.vocab` gives the id {id} to both {a:?} and {b:?}")
            }
            Self::MergeToken { index, token } => {
                write!(f, "`model.merges[{index}]` needs the token {token:?}, which is not in `model.vocab`")
            }
            Self::MergeTwice { index, pair: [a, b] } => {
                write!(f, "`model.merges[{index}]` repeats the merge of {a:?} and {b:?}")
            }
            Self::AddedToken { index, content } => {
                write!(f, "`added_tokens[{index}].content` is {content:?}; it must not be empty, nor stand there twice")
            }
            Self::AddedTokenId { content, id, expected } => {
                write!(f, "the added token {content:?} has the id {id}, but must have {expected}")
            }
        }
    }
}

impl core::error::Error for TokenizerError {}

/// An id that no token has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownToken {
    /// The id.
    pub id: u32,
    /// The number of tokens; ids are below it.
    pub vocab_size: usize,
}

impl fmt::Display for UnknownToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token id {} is not in the vocabulary, whose ids are below {}", self.id, self.vocab_size)
    }
}

impl core::error::Error for UnknownToken {}
