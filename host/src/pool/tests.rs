use super::*;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

/// Runs a region and returns how often each part ran.
fn counts(pool: &ThreadPool, parts: usize) -> Vec<u32> {
    let counts: Vec<AtomicU32> = (0..parts).map(|_| AtomicU32::new(0)).collect();
    pool.run(parts, &|part| {
        counts[part].fetch_add(1, Relaxed);
    });
    counts.into_iter().map(AtomicU32::into_inner).collect()
}

#[test]
fn every_part_runs_exactly_once() {
    for threads in [1, 2, 3, 8] {
        let pool = ThreadPool::new(threads).unwrap();
        assert_eq!(pool.threads(), threads);
        for parts in [0, 1, 2, 3, threads, 53, 1000] {
            assert_eq!(counts(&pool, parts), vec![1; parts], "{threads} threads, {parts} parts");
        }
    }
}

/// Many short regions, with pauses long enough for the workers to fall asleep: none is lost, none runs twice.
#[test]
fn regions_follow_each_other_without_loss() {
    let pool = ThreadPool::new(4).unwrap();
    let sum = AtomicUsize::new(0);
    for round in 0..50_000 {
        pool.run(5, &|part| {
            sum.fetch_add(part + 1, Relaxed);
        });
        if round % 5_000 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert_eq!(sum.into_inner(), 50_000 * 15);
}

/// Parts really run at the same time: each of two waits for the other to have begun.
#[test]
fn two_threads_work_side_by_side() {
    let pool = ThreadPool::new(2).unwrap();
    let begun = AtomicUsize::new(0);
    pool.run(2, &|_| {
        begun.fetch_add(1, SeqCst);
        let start = Instant::now();
        while begun.load(SeqCst) < 2 {
            assert!(start.elapsed() < Duration::from_secs(20), "the other part never began");
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    for threads in [1, 2, 4] {
        let pool = ThreadPool::new(threads).unwrap();
        for bad in [0, 1, 7, 15] {
            let panic =
                catch_unwind(AssertUnwindSafe(|| pool.run(16, &|part| assert!(part != bad, "part {part} broke"))));
            let message = panic.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(*message, format!("part {bad} broke"));
            assert_eq!(counts(&pool, 16), [1; 16]);
        }
        let panic = catch_unwind(AssertUnwindSafe(|| pool.run(64, &|_| panic!("all broke"))));
        assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "all broke");
        assert_eq!(counts(&pool, 16), [1; 16]);
    }
}

#[test]
fn a_region_inside_a_region_runs_on_its_caller() {
    let pool = ThreadPool::new(3).unwrap();
    let sum = AtomicUsize::new(0);
    pool.run(6, &|_| {
        pool.run(7, &|part| {
            sum.fetch_add(part, Relaxed);
        })
    });
    assert_eq!(sum.into_inner(), 6 * 21);
}

#[test]
fn several_callers_share_a_pool() {
    let pool = ThreadPool::new(3).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..2_000).for_each(|_| assert_eq!(counts(&pool, 9), [1; 9])));
        }
    });
}

#[test]
fn a_pool_ends_whether_its_workers_sleep_or_not() {
    for wait in [0, 1, 5] {
        let pool = ThreadPool::new(4).unwrap();
        counts(&pool, 4);
        std::thread::sleep(Duration::from_millis(wait));
        drop(pool);
    }
}

#[test]
fn a_pool_has_at_least_one_thread_and_not_too_many() {
    for threads in [0, MAX_THREADS + 1] {
        let error = ThreadPool::new(threads).err().unwrap().to_string();
        assert_eq!(error, format!("{threads} threads asked for: give 1 to 1024 (--threads)"));
    }
}
