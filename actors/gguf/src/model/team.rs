//! Several threads in one pass. Each member has some of the heads, with their keys and values, and some of the rows of
//! every matrix; after each product they put together what each of them found.
//!
//! All that they share is the job and two exchange places per member, used in turn, so that one barrier per exchange is
//! enough: nobody can write a place again before everybody has passed the barrier after the one at which it was read. A
//! member that panics breaks the team for good; whoever owns it starts anew.

use std::hint::spin_loop;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fearless_simd::Level;

use super::Model;
use super::member::Member;

/// Rounds of waiting before a thread lets others run.
const SPINS: usize = 4000;
/// How long a helper stays awake between passes.
const AWAKE: Duration = Duration::from_millis(2);
/// A member that is away for so long is not coming.
const PATIENCE: Duration = Duration::from_secs(60);

/// The team is broken: a member panicked or did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// A pass that all members run.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    number: usize,
    pub(super) tokens: Vec<u32>,
    /// Position of the first token.
    pub(super) start: usize,
    /// Whether somebody wants to know what comes after the last token.
    pub(super) wants_logits: bool,
    over: bool,
}

struct Shared {
    job: Mutex<Job>,
    called: Condvar,
    /// Number of the newest job.
    newest: AtomicUsize,
    members: usize,
    arrived: AtomicUsize,
    broken: AtomicBool,
    places: Vec<[RwLock<Vec<f32>>; 2]>,
}

/// The leader, who is whoever calls, and the helpers on threads of their own.
pub(crate) struct Team {
    model: Arc<Model>,
    shared: Arc<Shared>,
    leader: Member,
    seat: Seat,
    helpers: Vec<JoinHandle<()>>,
    logits: Vec<f32>,
}

impl Team {
    /// A team of at most `threads` members with room for `context` positions, on an instruction set.
    pub(crate) fn start(model: Arc<Model>, level: Level, threads: usize, context: usize) -> std::io::Result<Self> {
        let members = threads.clamp(1, model.shape.heads);
        let shared = Arc::new(Shared {
            job: Mutex::default(),
            called: Condvar::new(),
            newest: AtomicUsize::new(0),
            members,
            arrived: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            places: (0..members).map(|_| Default::default()).collect(),
        });
        let seat = |index| Seat { shared: shared.clone(), index, exchanges: 0 };
        let leader = Member::new(&model.shape, level, 0, members, context);
        let mut team = Self {
            leader,
            seat: seat(0),
            helpers: Vec::new(),
            logits: vec![0.0; model.shape.vocabulary],
            shared: shared.clone(),
            model,
        };
        for index in 1..members {
            let (model, mut seat) = (team.model.clone(), seat(index));
            let thread = std::thread::Builder::new().name(format!("gguf-{index}"));
            team.helpers.push(thread.spawn(move || {
                let mut member = Member::new(&model.shape, level, index, members, context);
                help(&model, &mut member, &mut seat);
            })?);
        }
        Ok(team)
    }

    /// Runs tokens from position `start` on; what lay behind is forgotten.
    pub(crate) fn pass(&mut self, tokens: &[u32], start: usize, wants_logits: bool) -> Result<(), Broken> {
        let number = self.shared.newest.load(Ordering::Acquire) + 1;
        let job = Job { number, tokens: tokens.to_vec(), start, wants_logits, over: false };
        self.shared.call(job.clone());
        self.leader.run(&self.model, &job, &mut self.seat, &mut self.logits)
    }

    /// What comes after the last token of the last pass that was to tell.
    pub(crate) fn logits(&mut self) -> &mut [f32] {
        &mut self.logits
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.broken.store(true, Ordering::Release);
        }
        let number = self.shared.newest.load(Ordering::Acquire) + 1;
        self.shared.call(Job { number, over: true, ..Job::default() });
        for helper in self.helpers.drain(..) {
            // One that panicked is gone as well.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn call(&self, job: Job) {
        if self.members == 1 {
            return;
        }
        let mut place = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        self.newest.store(job.number, Ordering::Release);
        *place = job;
        drop(place);
        self.called.notify_all();
    }

    /// The job after the one numbered `last`.
    fn next(&self, last: usize) -> Job {
        let (mut rounds, mut since) = (0usize, None);
        while self.newest.load(Ordering::Acquire) == last {
            rounds += 1;
            if rounds < SPINS {
                spin_loop();
            } else if since.get_or_insert_with(Instant::now).elapsed() < AWAKE {
                std::thread::yield_now();
            } else {
                break;
            }
        }
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        while job.number == last {
            job = self.called.wait(job).unwrap_or_else(PoisonError::into_inner);
        }
        job.clone()
    }
}

fn help(model: &Model, member: &mut Member, seat: &mut Seat) {
    let _end = BreakOnPanic(seat.shared.clone());
    let mut last = 0;
    loop {
        let job = seat.shared.next(last);
        last = job.number;
        if job.over || member.run(model, &job, seat, &mut []).is_err() {
            return;
        }
    }
}

struct BreakOnPanic(Arc<Shared>);

impl Drop for BreakOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Release);
        }
    }
}

/// One member's place in the team.
pub(super) struct Seat {
    shared: Arc<Shared>,
    index: usize,
    exchanges: usize,
}

impl Seat {
    /// Puts together rows of which every member has some columns: `mine` is this member's part, without gaps, and `width`
    /// the columns of a whole row, of which `part` tells those of each member. An empty `whole` is not filled.
    pub(super) fn gather(
        &mut self,
        mine: &[f32],
        part: impl Fn(usize) -> Range<usize>,
        width: usize,
        whole: &mut [f32],
    ) -> Result<(), Broken> {
        if self.shared.members == 1 {
            whole.copy_from_slice(mine);
            return Ok(());
        }
        let shared = self.shared.clone();
        let turn = self.exchanges % 2;
        self.exchanges += 1;
        if let Some(places) = shared.places.get(self.index) {
            let mut place = places[turn].write().unwrap_or_else(PoisonError::into_inner);
            place.clear();
            place.extend_from_slice(mine);
        }
        self.meet()?;
        if whole.is_empty() {
            return Ok(());
        }
        for (member, places) in shared.places.iter().enumerate() {
            let theirs = places[turn].read().unwrap_or_else(PoisonError::into_inner);
            let columns = part(member);
            if columns.is_empty() {
                continue;
            }
            for (row, theirs) in whole.chunks_exact_mut(width).zip(theirs.chunks_exact(columns.len())) {
                row[columns.clone()].copy_from_slice(theirs);
            }
        }
        Ok(())
    }

    fn meet(&self) -> Result<(), Broken> {
        let shared = &*self.shared;
        let all = shared.members * self.exchanges;
        shared.arrived.fetch_add(1, Ordering::AcqRel);
        let (mut rounds, mut since) = (0usize, None);
        while shared.arrived.load(Ordering::Acquire) < all {
            if shared.broken.load(Ordering::Acquire) {
                return Err(Broken);
            }
            rounds += 1;
            if rounds < SPINS {
                spin_loop();
                continue;
            }
            if since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                shared.broken.store(true, Ordering::Release);
                return Err(Broken);
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}
