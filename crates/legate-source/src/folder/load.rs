//! The first load: all documents of all files, decoded on a few threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use legate_api::Object;

use super::document::{Document, Entry, Fresh};
use super::file::{FileState, Pending, cut};
use super::reader::Read;

/// Documents handed to a thread at once.
const BATCH: usize = 64;

/// More threads do not pay before the compile starts.
const MAX_THREADS: usize = 4;

type Loaded = (Arc<str>, FileState, Vec<(Arc<Entry>, Object)>);

/// Cuts and decodes files that were read.
pub(super) fn load(reads: Vec<(Arc<str>, Read)>, namespace: &str) -> Vec<Loaded> {
    let mut files = Vec::new();
    let mut jobs = Vec::new();
    for (name, read) in reads {
        let mut file = FileState {
            stamp: read.stamp,
            ..FileState::default()
        };
        match read.text {
            Ok(text) => {
                let pending = cut(&name, &text, read.json).into_iter();
                jobs.extend(pending.map(|pending| (files.len(), pending)));
            }
            Err(problem) => file.problem = Some(problem),
        }
        files.push((name, file, Vec::new()));
    }
    for (index, (document, fresh)) in decode_all(jobs, namespace) {
        let Some((_, file, objects)) = files.get_mut(index) else {
            continue;
        };
        objects.extend(fresh.content.entries.iter().cloned().zip(fresh.objects));
        file.documents.push((document, fresh.content));
    }
    files
}

type Job<T> = (usize, T);

/// Decodes in parallel, keeping the order.
fn decode_all(jobs: Vec<Job<Pending>>, namespace: &str) -> Vec<Job<(Arc<Document>, Fresh)>> {
    let decode = |(file, pending): Job<Pending>| (file, pending.decode(namespace));
    let threads = thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS));
    if threads < 2 || jobs.len() < BATCH {
        return jobs.into_iter().map(decode).collect();
    }
    let mut batches = Vec::new();
    let mut jobs = jobs.into_iter().peekable();
    while jobs.peek().is_some() {
        batches.push(jobs.by_ref().take(BATCH).collect::<Vec<_>>());
    }
    let queue = Mutex::new(batches.into_iter().enumerate());
    let work = || {
        let mut done = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, batch)) = next else {
                return done;
            };
            done.push((number, batch.into_iter().map(decode).collect::<Vec<_>>()));
        }
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(batches) => done.extend(batches),
                // A panic is a bug in the decoder; hiding it would lose objects silently.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().flat_map(|(_, batch)| batch).collect()
}
