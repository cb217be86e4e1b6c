use super::*;
use core::sync::atomic::AtomicU32;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::vec::Vec;
use std::{format, vec};

/// A crew on threads of its own, which ends with it.
struct Threads {
    crew: Arc<Crew>,
    members: Vec<JoinHandle<()>>,
}

impl Threads {
    fn new(threads: usize) -> Threads {
        let crew = Arc::new(Crew::new());
        let member = |_| {
            crew.enlist();
            let crew = crew.clone();
            std::thread::spawn(move || crew.work())
        };
        let members = (1..threads).map(member).collect();
        Threads { crew, members }
    }
}

impl core::ops::Deref for Threads {
    type Target = Crew;

    fn deref(&self) -> &Crew {
        &self.crew
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.crew.dismiss();
        self.members.drain(..).for_each(|member| member.join().unwrap());
    }
}

/// Runs a region and returns how often each part ran.
fn counts(crew: &Crew, parts: usize) -> Vec<u32> {
    let counts: Vec<AtomicU32> = (0..parts).map(|_| AtomicU32::new(0)).collect();
    crew.run(parts, &|part| {
        counts[part].fetch_add(1, Relaxed);
    });
    counts.into_iter().map(AtomicU32::into_inner).collect()
}

#[test]
fn every_part_runs_exactly_once() {
    for threads in [1, 2, 3, 8] {
        let crew = Threads::new(threads);
        assert_eq!(crew.threads(), threads);
        for parts in [0, 1, 2, 3, threads, 53, 1000] {
            assert_eq!(counts(&crew, parts), vec![1; parts], "{threads} threads, {parts} parts");
        }
    }
}

/// Many short regions, with pauses long enough for the members to fall asleep: none is lost, none runs twice.
#[test]
fn regions_follow_each_other_without_loss() {
    let crew = Threads::new(4);
    let sum = AtomicUsize::new(0);
    for round in 0..50_000 {
        crew.run(5, &|part| {
            sum.fetch_add(part + 1, Relaxed);
        });
        if round % 5_000 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert_eq!(sum.into_inner(), 50_000 * 15);
}

/// Parts really run at the same time: each of two waits for the other to have begun. Then one takes so long that the caller
/// falls asleep.
#[test]
fn two_threads_work_side_by_side() {
    let crew = Threads::new(2);
    let caller = std::thread::current().id();
    for _ in 0..10 {
        let begun = AtomicUsize::new(0);
        crew.run(2, &|_| {
            begun.fetch_add(1, SeqCst);
            let start = Instant::now();
            while begun.load(SeqCst) < 2 {
                assert!(start.elapsed() < Duration::from_secs(20), "the other part never began");
                std::thread::yield_now();
            }
            if std::thread::current().id() != caller {
                std::thread::sleep(Duration::from_millis(5));
                begun.fetch_add(1, SeqCst);
            }
        });
        assert_eq!(begun.into_inner(), 3, "the caller has left before the member");
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_crew_lives_on() {
    for threads in [1, 2, 4] {
        let crew = Threads::new(threads);
        for bad in [0, 1, 7, 15] {
            let panic =
                catch_unwind(AssertUnwindSafe(|| crew.run(16, &|part| assert!(part != bad, "part {part} broke"))));
            let message = panic.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(*message, format!("part {bad} broke"));
            assert_eq!(counts(&crew, 16), [1; 16]);
        }
        let panic = catch_unwind(AssertUnwindSafe(|| crew.run(64, &|_| panic!("all broke"))));
        assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "all broke");
        assert_eq!(counts(&crew, 16), [1; 16]);
    }
}

#[test]
fn a_region_inside_a_region_runs_on_its_caller() {
    let crew = Threads::new(3);
    let sum = AtomicUsize::new(0);
    crew.run(6, &|_| {
        crew.run(7, &|part| {
            sum.fetch_add(part, Relaxed);
        })
    });
    assert_eq!(sum.into_inner(), 6 * 21);
}

#[test]
fn several_callers_share_a_crew() {
    let crew = Threads::new(3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..2_000).for_each(|_| assert_eq!(counts(&crew, 9), [1; 9])));
        }
    });
}

#[test]
fn a_crew_is_dismissed_whether_its_members_sleep_or_not() {
    for wait in [0, 1, 5] {
        let crew = Threads::new(4);
        counts(&crew, 4);
        std::thread::sleep(Duration::from_millis(wait));
        drop(crew);
    }
}

/// The caller cannot go on, and nothing may unwind: the test runs itself as a process that ends there.
#[test]
fn a_lost_member_ends_the_process_with_the_reason() {
    const CHILD: &str = "LOCKSTEP_TEST_LOSES_A_MEMBER";
    if std::env::var_os(CHILD).is_some() {
        let crew = Threads::new(2);
        let caller = std::thread::current().id();
        crew.run(2, &|_| {
            if std::thread::current().id() != caller {
                crew.lose(String::from("no memory"));
                loop {
                    std::thread::park();
                }
            }
            // The other part is the member's.
            while crew.lost.get().is_none() {
                std::thread::yield_now();
            }
        });
        return;
    }
    let name = "pool::crew::tests::a_lost_member_ends_the_process_with_the_reason";
    // Under an emulator the process needs it, too.
    let emulator = std::env::var("LOCKSTEP_TEST_EMULATOR").unwrap_or_default();
    let program = std::env::current_exe().unwrap();
    let mut words = emulator.split_whitespace().map(Into::into).chain([program.into_os_string()]);
    let mut child = std::process::Command::new(words.next().unwrap());
    child.args(words).args(["--exact", name, "--nocapture"]).env(CHILD, "1");
    let child = child.output().unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    // 101 is the code of a panic that unwound.
    assert!(!child.status.success() && child.status.code() != Some(101), "{:?}", child.status);
    assert!(said.contains("a compute thread has ended: no memory"), "{said}");
}
