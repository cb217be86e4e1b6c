//! The header is what cbindgen makes of the sources. `LOCKSTEP_WRITE_HEADER=1 cargo test -p capi` writes it.

use std::path::Path;

#[test]
fn the_header_is_written_from_the_sources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    // The files by name: cargo would be asked for them otherwise.
    let builder = ["status", "model", "generation", "training"]
        .iter()
        .fold(cbindgen::Builder::new().with_config(config), |builder, name| {
            builder.with_src(folder.join(format!("src/{name}.rs")))
        });
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = folder.join("include/lockstep.h");
    if std::env::var_os("LOCKSTEP_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(
        found == made,
        "include/lockstep.h is not what the sources say: LOCKSTEP_WRITE_HEADER=1 cargo test -p capi writes it"
    );
}

#[test]
fn the_header_has_every_function() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = std::fs::read_to_string(folder.join("include/lockstep.h")).unwrap();
    let mut functions = 0;
    for file in std::fs::read_dir(folder.join("src")).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for exported in source.split("#[unsafe(no_mangle)]").skip(1) {
            let name = exported.split_once("fn ").unwrap().1.split_once('(').unwrap().0;
            assert!(header.contains(&format!(" {name}(")) || header.contains(&format!("*{name}(")), "{name}");
            functions += 1;
        }
    }
    assert!(functions > 10, "{functions}");
}
