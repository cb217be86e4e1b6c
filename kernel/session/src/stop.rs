//! The texts before which a generation ends.

use std::{error, fmt};

/// The most stop strings of a generation.
pub const MAX_STOPS: usize = 16;
/// The most bytes of a stop string, in UTF-8.
pub const MAX_STOP_BYTES: usize = 256;

/// Stop strings: the text of a generation ends before the first of them that it comes to have.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Stop(Vec<String>);

/// Why texts are no stop strings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StopError {
    /// There are too many.
    Many(usize),
    /// One of them, counted from 1, is empty.
    Empty(usize),
    /// One of them is too long.
    Long {
        /// Which, from 1.
        number: usize,
        /// Its bytes.
        bytes: usize,
    },
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopError::Many(count) => write!(f, "{count} stop strings are too many; give at most {MAX_STOPS}"),
            StopError::Empty(number) => {
                write!(f, "stop string {number} is empty: every text would end at once; leave it out")
            }
            StopError::Long { number, bytes } => {
                write!(f, "stop string {number} has {bytes} bytes; give at most {MAX_STOP_BYTES}")
            }
        }
    }
}

impl error::Error for StopError {}

impl Stop {
    /// These stop strings; none of them if there are none.
    ///
    /// # Errors
    /// If there are more than [`MAX_STOPS`], or one is empty or longer than [`MAX_STOP_BYTES`].
    pub fn new(strings: Vec<String>) -> Result<Stop, StopError> {
        if strings.len() > MAX_STOPS {
            return Err(StopError::Many(strings.len()));
        }
        for (string, number) in strings.iter().zip(1..) {
            match string.len() {
                0 => return Err(StopError::Empty(number)),
                bytes if bytes > MAX_STOP_BYTES => return Err(StopError::Long { number, bytes }),
                _ => {}
            }
        }
        Ok(Stop(strings))
    }

    /// The strings, in the order in which they were given, which changes nothing.
    pub fn strings(&self) -> &[String] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where in `text` the stop string begins that is complete first; of several that are complete at once, the longest.
    /// How the text was cut into tokens changes nothing.
    pub(crate) fn find(&self, text: &str) -> Option<usize> {
        let places = self.0.iter().filter_map(|stop| text.find(stop).map(|at| (at + stop.len(), at)));
        places.min().map(|(_, at)| at)
    }

    /// How many bytes at the end of `text` may become a stop string with what follows.
    pub(crate) fn begun(&self, text: &str) -> usize {
        let begun = |stop: &String| {
            let starts = stop.char_indices().map(|(len, _)| len).rev();
            starts.into_iter().find(|len| text.ends_with(&stop[..*len])).unwrap_or(0)
        };
        self.0.iter().map(begun).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(strings: &[&str]) -> Stop {
        Stop::new(strings.iter().map(|string| string.to_string()).collect()).unwrap()
    }

    #[test]
    fn the_one_that_is_complete_first_ends_the_text() {
        for (strings, text, at) in [
            (&["x"][..], "abc", None),
            (&["c", "b"], "abc", Some(1)),
            (&["abcd", "bc"], "abcd", Some(1)),
            (&["bc", "abc"], "abcd", Some(0)),
            (&["é"], "aéb", Some(1)),
            (&["a"], "bababa", Some(1)),
        ] {
            assert_eq!(stop(strings).find(text), at, "{strings:?} in {text:?}");
        }
    }

    #[test]
    fn what_may_become_one_is_the_longest_beginning_at_the_end() {
        for (strings, text, bytes) in [
            (&[][..], "abc", 0),
            (&["abc"], "xab", 2),
            (&["abc", "bx"], "xab", 2),
            (&["aab"], "aaa", 2),
            (&["éa"], "é", 2),
            (&["abc"], "abx", 0),
        ] {
            assert_eq!(stop(strings).begun(text), bytes, "{strings:?} at the end of {text:?}");
        }
    }

    #[test]
    fn their_number_and_length_are_bounded() {
        let new = |strings: Vec<String>| Stop::new(strings);
        assert!(new(vec!["é".repeat(MAX_STOP_BYTES / 2); MAX_STOPS]).is_ok());
        assert_eq!(new(vec!["a".into(); MAX_STOPS + 1]), Err(StopError::Many(MAX_STOPS + 1)));
        assert_eq!(new(vec!["a".into(), String::new()]), Err(StopError::Empty(2)));
        let long = "a".repeat(MAX_STOP_BYTES + 1);
        assert_eq!(new(vec![long]), Err(StopError::Long { number: 1, bytes: MAX_STOP_BYTES + 1 }));
    }
}
