//! The textbook: split by looking at every character, merge by looking at every pair again and again.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

/// A vocabulary as it stands in the file.
pub struct Naive {
    tokens: HashMap<String, u32>,
    /// The token of bytes that have none.
    unknown: Option<String>,
    /// The rank of a pair, by its left and then its right text.
    ranks: HashMap<String, HashMap<String, usize>>,
    cut: Cut,
    /// Whether a piece that is a token is that token.
    ignore_merges: bool,
    /// What comes before a text.
    prefix: Vec<u32>,
}

/// How text is cut.
#[derive(Clone, Copy)]
enum Cut {
    Gpt2,
    /// Digits are cut out before the pattern cuts.
    DigitsThenGpt2,
    /// With so many numbers together at most.
    Llama3(usize),
}

impl Naive {
    pub fn from_json(json: &Value) -> Naive {
        let model = &json["model"];
        let vocab = model["vocab"].as_object().unwrap();
        let pair = |merge: &Value| match merge {
            Value::String(text) => text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap(),
            _ => (merge[0].as_str().unwrap().to_owned(), merge[1].as_str().unwrap().to_owned()),
        };
        let version = |merge: &&Value| merge.as_str().is_some_and(|text| text.starts_with("#version"));
        let merges = model["merges"].as_array().unwrap().iter().filter(|merge| !version(merge));
        let mut ranks: HashMap<String, HashMap<String, usize>> = HashMap::new();
        for ((left, right), rank) in merges.map(pair).zip(0..) {
            ranks.entry(left).or_default().insert(right, rank);
        }
        Naive {
            tokens: vocab.iter().map(|(token, id)| (token.clone(), id.as_u64().unwrap() as u32)).collect(),
            unknown: model["unk_token"].as_str().map(str::to_owned),
            ranks,
            cut: cut(&json["pre_tokenizer"]),
            ignore_merges: model["ignore_merges"] == true,
            prefix: prefix(&json["post_processor"]),
        }
    }

    /// What comes before a text.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// Merges one piece, its symbols being texts in the byte-level alphabet.
    pub fn merge(&self, piece: &str) -> Vec<u32> {
        let spelt: String = piece.bytes().map(alphabet).collect();
        if let Some(id) = self.tokens.get(&spelt).filter(|_| self.ignore_merges) {
            return vec![*id];
        }
        let symbol = |byte| Some(alphabet(byte).to_string()).filter(|symbol| self.tokens.contains_key(symbol));
        let mut symbols: Vec<String> =
            piece.bytes().filter_map(|byte| symbol(byte).or_else(|| self.unknown.clone())).collect();
        loop {
            let mut best: Option<(usize, usize)> = None;
            for at in 1..symbols.len() {
                let rank = self.ranks.get(&symbols[at - 1]).and_then(|rights| rights.get(&symbols[at]));
                if let Some(&rank) = rank
                    && best.is_none_or(|(lowest, _)| rank < lowest)
                {
                    best = Some((rank, at));
                }
            }
            let Some((_, at)) = best else { break };
            let right = symbols.remove(at);
            symbols[at - 1].push_str(&right);
        }
        symbols.iter().map(|symbol| self.tokens[symbol]).collect()
    }

    /// Texts without special tokens and prefix, of characters whose class ASCII rules tell.
    pub fn encode_ascii(&self, text: &str) -> Vec<u32> {
        split_ascii(text, self.cut).iter().flat_map(|piece| self.merge(piece)).collect()
    }
}

/// GPT-2's byte-level alphabet, from its definition.
pub fn alphabet(byte: u8) -> char {
    static CHARACTERS: LazyLock<Vec<char>> = LazyLock::new(|| (0..=255).map(character).collect());
    CHARACTERS[usize::from(byte)]
}

fn character(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(0x100 + before).unwrap()
}

fn cut(pre_tokenizer: &Value) -> Cut {
    match &pre_tokenizer["pretokenizers"][0] {
        _ if pre_tokenizer["type"] != "Sequence" => Cut::Gpt2,
        first if first["type"] == "Digits" => Cut::DigitsThenGpt2,
        first if first["type"] == "Split" => Cut::Llama3(if first.to_string().contains("{1,3}") { 3 } else { 1 }),
        _ => Cut::Gpt2,
    }
}

/// The ids before a text: of the template, which may be one of several processors.
fn prefix(post_processor: &Value) -> Vec<u32> {
    let one = [post_processor.clone()];
    let all = match post_processor["type"] == "Sequence" {
        true => post_processor["processors"].as_array().unwrap(),
        false => &one[..],
    };
    let Some(template) = all.iter().find(|processor| processor["type"] == "TemplateProcessing") else {
        return Vec::new();
    };
    let (_text, before) = template["single"].as_array().unwrap().split_last().unwrap();
    let names = before.iter().map(|part| part["SpecialToken"]["id"].as_str().unwrap());
    let ids = names.flat_map(|name| template["special_tokens"][name]["ids"].as_array().unwrap());
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Digits where they are asked for, then the pattern, on ASCII: every alternative is tried at every place as the pattern says.
fn split_ascii(text: &str, cut: Cut) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in text.chars() {
        assert!(c.is_ascii());
        if matches!(cut, Cut::DigitsThenGpt2) && c.is_ascii_digit() {
            parts.extend([c.to_string(), String::new()]);
        } else {
            parts.last_mut().unwrap().push(c);
        }
    }
    let mut pieces = Vec::new();
    for part in parts {
        let chars: Vec<char> = part.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let len = match cut {
                Cut::Llama3(numbers) => first_of_llama3(&chars[at..], numbers),
                _ => first_alternative(&chars[at..]),
            };
            pieces.push(chars[at..at + len].iter().collect());
            at += len;
        }
    }
    pieces
}

fn first_alternative(chars: &[char]) -> usize {
    // \s has no U+001C to U+001F in the reference, and has U+000B.
    let space = |c: char| matches!(c, '\t'..='\r' | ' ');
    let letter = |c: char| c.is_ascii_alphabetic();
    let digit = |c: char| c.is_ascii_digit();
    let other = |c: char| !space(c) && !letter(c) && !digit(c);
    let text: String = chars.iter().collect();
    for contraction in ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"] {
        if text.starts_with(contraction) {
            return contraction.len();
        }
    }
    let optional_space = usize::from(chars[0] == ' ');
    for class in [&letter as &dyn Fn(char) -> bool, &digit, &other] {
        let run = chars[optional_space..].iter().take_while(|&&c| class(c)).count();
        if run > 0 {
            return optional_space + run;
        }
    }
    let run = chars.iter().take_while(|&&c| space(c)).count();
    // \s+(?!\S): the longest that is not followed by something visible, if there is one.
    (1..=run).rev().find(|&len| chars.get(len).is_none_or(|&c| space(c))).unwrap_or(run)
}

/// The same for the pattern of Llama 3: the longest of each alternative's lengths that match, in the alternatives' order.
fn first_of_llama3(chars: &[char], numbers: usize) -> usize {
    let end = |c: &char| matches!(c, '\r' | '\n');
    let space = |c: &char| matches!(c, '\t'..='\r' | ' ');
    let letter = |c: &char| c.is_ascii_alphabetic();
    let digit = |c: &char| c.is_ascii_digit();
    let other = |c: &char| !space(c) && !letter(c) && !digit(c);
    let contraction = |text: &[char]| {
        let text: String = text.iter().collect();
        ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"].contains(&text.to_lowercase().as_str())
    };
    let word = |text: &[char]| {
        let (first, rest) = text.split_first().unwrap();
        text.iter().all(letter) || (!end(first) && !digit(first) && !rest.is_empty() && rest.iter().all(letter))
    };
    let number = |text: &[char]| text.len() <= numbers && text.iter().all(digit);
    let punctuation = |text: &[char]| {
        let text = text.strip_prefix(&[' ']).unwrap_or(text);
        let others = text.iter().take_while(|c| other(c)).count();
        others > 0 && text[others..].iter().all(end)
    };
    let lines = |text: &[char]| text.iter().all(space) && text.last().is_some_and(end);
    let spaces = |text: &[char]| text.iter().all(space) && chars.get(text.len()).is_none_or(space);
    let rest = |text: &[char]| text.iter().all(space);
    type Alternative<'a> = &'a dyn Fn(&[char]) -> bool;
    let alternatives: [Alternative<'_>; 7] = [&contraction, &word, &number, &punctuation, &lines, &spaces, &rest];
    let longest = |matches: Alternative<'_>| (1..=chars.len()).rev().find(|&len| matches(&chars[..len]));
    alternatives.into_iter().find_map(longest).unwrap()
}
