//! Keeps a template within the stack. minijinja parses, compiles, writes, compares and drops by recursion, and a stack
//! that overflows ends the process; fuel does not count that.
//!
//! * *Source.* Where the parser recurses without a limit of its own it does so over the tokens of a tag, or over
//!   `elif`: both are counted before it runs.
//! * *Values.* Each is looked through when it is made ([`made`]), by a call between the engine's instructions: it has
//!   few levels, and few parts, counted as often as they are written. A view of something else, such as a slice, shows
//!   not all that it holds: it becomes a list.
//! * *Namespaces and loops.* They alone can be changed, a loop by `loop.changed`. They hold texts, numbers, lists and
//!   maps ([`data`]), and nothing but variables holds them: what was looked through stays as it is.
//!
//! What this lets through needs 400 KiB of stack, and less than 2 MiB in a build without optimisation.

use alloc::{collections::BTreeMap, format, string::String, vec, vec::Vec};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, Template,
    machinery::{self, Instruction, Instructions, Token},
    value::{DynObject, Enumerator, ObjectRepr, Value, ValueKind},
};

/// Names, operators and opening brackets of a tag, `{% ... %}` or `{{ ... }}`. Models' templates have up to 50.
const TOKENS: usize = 300;
/// `elif`s of a template. Models' templates have up to 25.
const ELIFS: usize = 100;
/// The engine's recursion limit: a loop takes 1 of it, a call of a macro 6.
const FRAMES: usize = 250;
/// Lists and maps within each other.
const LEVELS: usize = 32;
/// Parts of a value, their parts, and so on.
const PARTS: usize = 1 << 16;
/// Bytes of all texts in a value.
const BYTES: usize = 64 << 20;

/// [`made`] as a filter and [`data`] as a test, by names that no template can write.
const MADE: &str = "[made]";
const DATA: &str = "[data]";

/// Adds what [`render`] calls, and takes away what gives all values as one text, or things that hold views.
pub(super) fn prepare(environment: &mut Environment<'_>) {
    environment.add_filter(MADE, made);
    environment.add_test(DATA, data);
    environment.set_recursion_limit(FRAMES);
    environment.remove_global("debug");
    environment.remove_filter("chain");
    environment.remove_filter("groupby");
}

/// Refuses a source on which the parser would recurse too deep.
pub(super) fn check_source(environment: &Environment<'_>, source: &str) -> Result<(), Error> {
    let (mut tokens, mut elifs) = (0, 0);
    // What is no token is refused by the parser.
    for (token, span) in machinery::tokenize(source, false, environment.syntax().clone()).map_while(Result::ok) {
        match token {
            Token::BlockStart | Token::VariableStart => tokens = 0,
            Token::Ident("elif") => elifs += 1,
            // A long list or map of these is not deep.
            Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Float(_) | Token::Comma | Token::Colon => {}
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {}
            _ => tokens += 1,
        }
        if tokens > TOKENS || elifs > ELIFS {
            let why = format!(
                "more than {TOKENS} names, operators and opening brackets in a tag, or than {ELIFS} elif (line {})",
                span.start_line
            );
            return Err(Error::new(ErrorKind::SyntaxError, why));
        }
    }
    Ok(())
}

/// The text of a template. Fails if a value that it makes is too deep or too large.
pub(super) fn render(
    environment: &Environment<'_>,
    template: &Template<'_, '_>,
    values: Value,
) -> Result<String, Error> {
    let instructions = with_checks(&machinery::get_compiled_template(template).instructions);
    let (mut text, blocks) = (String::new(), BTreeMap::new());
    let output = &mut machinery::make_string_output(&mut text);
    machinery::eval(environment, &instructions, values, &blocks, output, AutoEscape::None)?;
    Ok(text)
}

/// The instructions with a call of [`made`] after each that makes a value, and of [`data`] before each that puts one
/// into a namespace.
fn with_checks<'a>(plain: &Instructions<'a>) -> Instructions<'a> {
    let mut checked = Instructions::new(plain.name(), plain.source());
    // Where each instruction is now, and where they end: the engine jumps there.
    let (mut places, mut end) = (Vec::new(), 0);
    for (at, instruction) in (0..).map_while(|at| Some((at, plain.get(at)?))) {
        places.push(end);
        let line = plain.get_line(at).map_or(0, |line| line as u16);
        let mut add = |instruction| end = checked.add_with_line(instruction, line) + 1;
        match instruction {
            Instruction::SetAttr(_) => {
                // The namespace lies above the value.
                add(Instruction::Swap);
                add(Instruction::DupTop);
                add(Instruction::PerformTest(DATA, Some(1), !0));
                add(Instruction::DiscardTop);
                add(Instruction::Swap);
                add(instruction.clone());
            }
            // A loop remembers its arguments. Here they become one list, which is looked through.
            Instruction::CallMethod("changed", Some(count)) => {
                add(Instruction::BuildList(Some(usize::from(*count) - 1)));
                add(Instruction::ApplyFilter(MADE, Some(1), !0));
                add(Instruction::CallMethod("changed", Some(2)));
            }
            Instruction::BuildList(_)
            | Instruction::BuildTuple(_)
            | Instruction::BuildMap(_)
            | Instruction::Add
            | Instruction::Mul
            | Instruction::Slice
            | Instruction::ApplyFilter(..)
            | Instruction::CallFunction(..)
            | Instruction::CallMethod(..)
            | Instruction::CallObject(_) => {
                add(instruction.clone());
                add(Instruction::ApplyFilter(MADE, Some(1), !0));
            }
            _ => add(instruction.clone()),
        }
    }
    places.push(end);
    for at in 0..end {
        if let Some(
            Instruction::Jump(to)
            | Instruction::JumpIfFalse(to)
            | Instruction::JumpIfFalseOrPop(to)
            | Instruction::JumpIfTrueOrPop(to)
            | Instruction::Iterate(to)
            | Instruction::BuildMacro(_, to, _),
        ) = checked.get_mut(at)
        {
            *to = places[*to as usize];
        }
    }
    checked
}

/// A value that was just made, or the list of what a view shows.
fn made(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let value = match value.kind() {
        ValueKind::Iterable => value.try_iter()?.take(PARTS).collect(),
        ValueKind::Seq | ValueKind::Map => value,
        _ => return Ok(value),
    };
    look_through(state, value.clone(), 0)?;
    Ok(value)
}

/// Whether a namespace may hold a value; if not, the error says why.
fn data(state: &State<'_, '_>, value: Value) -> Result<bool, Error> {
    look_through(state, value, 1)?;
    Ok(true)
}

/// Looks at a value that is in so many others, and at all that is in it.
///
/// # Errors
/// If these have more than [`LEVELS`], [`PARTS`] or [`BYTES`], or what is in another is no text, number, list or map.
fn look_through(state: &State<'_, '_>, value: Value, level: usize) -> Result<(), Error> {
    let refused = |why: String| Err(Error::new(ErrorKind::InvalidOperation, why));
    let (mut parts, mut bytes) = (0, 0);
    let mut values = vec![(value, level)];
    while let Some((value, level)) = values.pop() {
        parts += 1;
        bytes += value.as_bytes().map_or(0, <[u8]>::len);
        if parts + values.len() > PARTS || bytes > BYTES {
            return refused(format!("a value of more than {PARTS} parts or {BYTES} bytes"));
        }
        let Some(object) = value.as_object() else { continue };
        if level > LEVELS {
            return refused(format!("a value of more than {LEVELS} lists and maps within each other"));
        }
        if level > 0 && !is_list_or_map(object) {
            return refused("a namespace, loop, macro, function or view in a list, a map or a namespace".into());
        }
        let has_keys = object.repr() == ObjectRepr::Map;
        for (key, value) in object.try_iter_pairs().into_iter().flatten().take(PARTS) {
            values.extend(has_keys.then_some((key, level + 1)));
            values.push((value, level + 1));
        }
    }
    // Looking takes time, and values that are in several namespaces take memory when these are written.
    state.consume_fuel(parts as u64 / 16 + bytes as u64 / 1024)
}

/// Whether an object holds nothing but its parts. Namespaces, loops and macros are more, and enumerate names only.
fn is_list_or_map(object: &DynObject) -> bool {
    match object.repr() {
        ObjectRepr::Seq => true,
        ObjectRepr::Map => matches!(object.enumerate(), Enumerator::KeyValueIter(_) | Enumerator::RevKeyValueIter(_)),
        _ => false,
    }
}
