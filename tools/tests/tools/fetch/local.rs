//! What is here already: hub caches, offline mode, damaged folders.

use std::fs;
use std::path::PathBuf;

use tools::fetch::FetchError as F;
use tools::fetch::hub::HubError as E;

use super::{REVISION, Setup, model_files, says};

/// Puts the model into a hub cache.
fn fill_cache(setup: &mut Setup) -> PathBuf {
    let cache = setup.folder.path().join("hub");
    let snapshot = cache.join("models--owner--model").join("snapshots").join(REVISION);
    fs::create_dir_all(&snapshot).unwrap();
    for (name, bytes) in model_files() {
        fs::write(snapshot.join(name), bytes).unwrap();
    }
    setup.environment.cache = Some(cache);
    snapshot
}

#[test]
fn a_hub_cache_makes_a_download_needless() {
    let mut setup = Setup::new();
    let snapshot = fill_cache(&mut setup);
    setup.environment.offline = true;
    setup.fetch().unwrap();
    for (name, bytes) in model_files() {
        assert!(fs::read(setup.dir().join(name)).unwrap() == bytes, "{name}");
        assert!(fs::read(snapshot.join(name)).unwrap() == bytes, "the cache keeps {name}");
    }
    assert!(setup.server.requests().is_empty());
}

#[test]
fn what_a_cache_has_wrong_is_downloaded() {
    let mut setup = Setup::new();
    let snapshot = fill_cache(&mut setup);
    let mut wrong = fs::read(snapshot.join("model.safetensors")).unwrap();
    wrong[1000] ^= 1;
    fs::write(snapshot.join("model.safetensors"), wrong).unwrap();
    fs::write(snapshot.join("config.json"), "").unwrap();
    setup.fetch().unwrap();
    assert_eq!(setup.server.requests().len(), 2);
}

#[test]
fn offline_nothing_is_asked() {
    let mut setup = Setup::new();
    setup.environment.offline = true;
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, F::Hub(E::Offline { .. })), "{error}");
    says(&error, &["HF_HUB_OFFLINE", "config.json", "--source wheel"]);
    assert!(setup.server.requests().is_empty());
}

#[test]
fn a_damaged_file_is_fetched_again_and_only_that() {
    for (name, _) in model_files() {
        let setup = Setup::new();
        setup.fetch().unwrap();
        let path = setup.dir().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[1] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(!setup.fetch().unwrap().was_complete);
        setup.check_folder();
        assert_eq!(setup.server.requests().len(), 4, "{name}");
    }
}

#[test]
fn a_folder_without_its_manifest_is_not_complete() {
    let setup = Setup::new();
    let first = setup.fetch().unwrap();
    fs::remove_file(setup.dir().join("manifest.json")).unwrap();
    let second = setup.fetch().unwrap();
    assert!(!second.was_complete);
    assert_eq!(second.manifest, first.manifest);
    assert_eq!(setup.server.requests().len(), 3, "its files are right and need no download");
    setup.check_folder();
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let setup = Setup::new();
    fs::write(setup.folder.path().join("Model.partial"), "in the way").unwrap();
    let error = setup.fetch().unwrap_err();
    assert!(matches!(error, F::Io { .. }), "{error}");
    says(&error, &["Model.partial"]);
}
