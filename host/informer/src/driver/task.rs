//! One reflector on tokio: does the I/O that it orders, and tells it what came of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kube::client::Body;
use tokio::sync::SemaphorePermit;

use crate::{
    driver::Inner,
    driver::transport::{self, Lost, Resource},
    informer::Informer,
    read::{Format, Lines, ListReader, Unreadable},
    reflector::failure::{Failure, Trouble},
    reflector::{Event, Input, ListRequest, Order, WatchRequest},
    store::Scope,
};

/// The reflector is gone.
struct Gone;

/// How a list or a watch ended.
enum End {
    /// By itself.
    Input(Input),
    /// The reflector wants something else.
    Order(Order),
}

/// A watch is cut so long after the server should have ended it: one that sends bytes for ever and never a whole line
/// is not silent.
const OVERTIME: Duration = Duration::from_secs(30);

/// A streaming list that is silent for so long gives its turn to another.
const LULL: Duration = Duration::from_secs(1);

/// The most unreadable objects that one watch tells of in a minute.
const TOLD_A_MINUTE: u32 = 10;

/// The next piece of a watch. A streaming list that is silent gives its turn to another: the server may never go on.
async fn next(body: &mut Body, turn: &mut Option<SemaphorePermit<'_>>, bound: Duration) -> Result<Option<Bytes>, Lost> {
    if turn.is_none() || bound <= LULL {
        return transport::piece(body, bound).await;
    }
    match transport::piece(body, LULL).await {
        Err(Lost::Silent(_)) => *turn = None,
        piece => return piece,
    }
    match transport::piece(body, bound - LULL).await {
        Err(Lost::Silent(_)) => Err(Lost::Silent(bound)),
        piece => piece,
    }
}

/// So long after a panic the next watch begins: what made the last one fail may make it fail too, and no loop of faults
/// is to eat the host or its log.
pub(super) const AFTER_FAULT: Duration = Duration::from_secs(10);

/// Sees to it that a task which panics is said so and followed by another.
struct Guard {
    inner: Arc<Inner>,
    informer: Arc<Informer>,
    id: u64,
    scope: Option<Scope>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let scope = self.scope.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            kind = %self.informer.gvk(), scope,
            "a watch has stopped by a fault of this host (a panic, told above); it begins anew in {} s", AFTER_FAULT.as_secs()
        );
        let (inner, informer, id) = (self.inner.clone(), self.informer.clone(), self.id);
        // Not here: a second panic while the first unwinds would end the process. The handle is not needed: it ends by
        // itself.
        drop(self.inner.runtime.spawn(async move {
            let commands = informer.fault(id, "the watch stopped by a fault of this host; it begins anew");
            inner.ended(id);
            Inner::run(&inner, &informer, commands);
        }));
    }
}

/// One reflector's home.
pub(crate) struct Task {
    inner: Arc<Inner>,
    informer: Arc<Informer>,
    id: u64,
    /// When the running minute of log lines began, and how many it had.
    told: (Duration, u32),
    /// A request was forbidden since the last watch was opened.
    forbidden: bool,
}

impl Task {
    /// For the reflector of this number.
    pub(crate) fn new(inner: Arc<Inner>, informer: Arc<Informer>, id: u64) -> Self {
        Self {
            inner,
            informer,
            id,
            told: (Duration::ZERO, 0),
            forbidden: false,
        }
    }

    /// Until the reflector is gone.
    pub(crate) async fn run(mut self) {
        let _guard = Guard {
            inner: self.inner.clone(),
            informer: self.informer.clone(),
            id: self.id,
            scope: self.informer.scope(self.id),
        };
        if self.informer.is_after_fault(self.id) {
            self.pause(AFTER_FAULT).await;
        }
        // Both ways out end the task: gone, or out of orders, which only a stopped reflector is.
        let (Ok(()) | Err(Gone)) = self.drive().await;
        self.inner.ended(self.id);
    }

    fn feed(&self, input: Input) -> Result<Option<Order>, Gone> {
        let progress = self.informer.input(self.inner.clock.now(), self.id, input);
        Inner::run(&self.inner, &self.informer, progress.commands);
        if progress.gone { Err(Gone) } else { Ok(progress.order) }
    }

    async fn drive(&mut self) -> Result<(), Gone> {
        let scope = self.informer.scope(self.id).ok_or(Gone)?;
        let mut resource = None;
        let mut order = self.feed(Input::Start)?;
        while let Some(current) = order {
            let undiscovered = || Input::Failed(Failure::new(Trouble::NotFound, "not discovered yet"));
            let end = match (current, &resource) {
                (Order::Wait(pause), _) => {
                    self.wait(pause).await;
                    End::Input(Input::Timer)
                }
                (Order::Discover, _) => End::Input(match self.discover(&scope).await {
                    Ok(found) => {
                        resource = Some(found);
                        Input::Found
                    }
                    Err(failure) => Input::Failed(failure),
                }),
                (Order::List(request), Some(resource)) => self.list(resource, &scope, &request).await?,
                (Order::Watch(request), Some(resource)) => self.watch(resource, &scope, &request).await?,
                (Order::List(_) | Order::Watch(_), None) => End::Input(undiscovered()),
            };
            order = match end {
                End::Input(input) => self.feed(input)?,
                End::Order(next) => Some(next),
            };
        }
        tracing::error!(kind = %self.informer.gvk(), %scope, "a reflector has stopped by itself: a fault of this host, restart it");
        Ok(())
    }

    fn heard<T>(&self, answer: Result<T, Failure>) -> Result<T, Failure> {
        self.inner.reach.heard(&answer);
        answer
    }

    /// Waits for so long, or until there is reason to hope: the API server was away and answers, or another watch that
    /// was forbidden like this one may be had.
    async fn wait(&self, pause: Duration) {
        let reach = &self.inner.reach;
        let (mut away, mut better) = (reach.away(), reach.better());
        let hope = async {
            // Errors: the senders are this driver's own.
            if self.forbidden {
                // Which the end of an outage is too.
                let _ = better.changed().await;
            } else {
                let _ = away.wait_for(|away| *away).await;
                let _ = away.wait_for(|away| !*away).await;
            }
        };
        #[expect(clippy::disallowed_methods, reason = "this is the driver that waits")]
        // An error: the pause is over.
        let _ = tokio::time::timeout(pause, hope).await;
    }

    #[expect(clippy::disallowed_methods, reason = "this is the driver that waits")]
    async fn pause(&self, pause: Duration) {
        tokio::time::sleep(pause).await;
    }

    async fn discover(&self, scope: &Scope) -> Result<Resource, Failure> {
        self.inner.reach.turn().await;
        let gvk = self.informer.gvk();
        let found = transport::discover_watched(&self.inner.client, gvk, self.inner.config.patience).await;
        let found = self.heard(found)?;
        if !found.namespaced && *scope != Scope::All {
            let why = format!("{gvk} is cluster-scoped: who names namespaces sees nothing of it; ask for all of them");
            return Err(Failure::new(Trouble::Refused, why));
        }
        Ok(found)
    }

    async fn open(&mut self, path: &str, accept: &'static str) -> Result<Body, Failure> {
        self.inner.reach.turn().await;
        let answer = transport::get_as(&self.inner.client, path, accept, self.inner.config.patience).await;
        let answer = self.heard(answer);
        self.forbidden |= matches!(&answer, Err(failure) if failure.trouble == Trouble::Forbidden);
        answer
    }

    async fn list(&mut self, resource: &Resource, scope: &Scope, request: &ListRequest) -> Result<End, Gone> {
        let inner = self.inner.clone();
        // Never closed.
        let Ok(_turn) = inner.lists.acquire().await else {
            return Err(Gone);
        };
        let wire = self.informer.wire(self.id, request.token.is_none()).ok_or(Gone)?;
        let path = wire.select(transport::list_path(self.informer.gvk(), resource, scope, request));
        let mut body = match self.open(&path, wire.accept(true)).await {
            Ok(body) => body,
            Err(failure) => return Ok(End::Input(Input::Failed(failure))),
        };
        let mut reader = ListReader::new(wire.format);
        let began = inner.clock.now();
        let garbled = |error: crate::read::ListError| {
            End::Input(Input::Failed(Failure::new(Trouble::Garbled, error.to_string())))
        };
        loop {
            let since = inner.clock.now().saturating_sub(began);
            match transport::piece_of_list(&mut body, inner.config.patience, since).await {
                Ok(Some(piece)) => match reader.push(&piece) {
                    Ok(page) => {
                        for unreadable in &page.unreadable {
                            self.tell(unreadable);
                        }
                        if !page.items.is_empty() || !page.unreadable.is_empty() {
                            let unreadable = page.unreadable.len() as u64;
                            if let Some(order) = self.feed(Input::Items(page.items, unreadable))? {
                                return Ok(End::Order(order));
                            }
                        }
                    }
                    Err(error) => return Ok(garbled(error)),
                },
                Ok(None) => break,
                Err(failure) => return Ok(End::Input(Input::Failed(failure))),
            }
        }
        Ok(match reader.finish() {
            Ok((version, token)) => End::Input(Input::Page { version, token }),
            Err(error) => garbled(error),
        })
    }

    async fn watch(&mut self, resource: &Resource, scope: &Scope, request: &WatchRequest) -> Result<End, Gone> {
        let inner = self.inner.clone();
        // A streaming list takes its turn among the lists until it has become a watch.
        let mut turn = match request.initial {
            // Never closed.
            Some(_) => Some(inner.lists.acquire().await.map_err(|_| Gone)?),
            None => None,
        };
        let wire = self.informer.wire(self.id, true).ok_or(Gone)?;
        let path = wire.select(transport::watch_path(self.informer.gvk(), resource, scope, request));
        let mut body = match self.open(&path, wire.accept(false)).await {
            Ok(body) => body,
            Err(failure) => return Ok(End::Input(Input::Failed(failure))),
        };
        // Not for a list: where lists are allowed and watches are not, two kinds would wake each other for ever.
        if std::mem::take(&mut self.forbidden) {
            self.inner.reach.allowed();
        }
        if let Some(order) = self.feed(Input::Opened)? {
            return Ok(End::Order(order));
        }
        let format = wire.format;
        let mut lines = Lines::default();
        let mut initial = request.initial;
        let end = self.inner.clock.now() + request.timeout + OVERTIME;
        loop {
            let mut events = Vec::new();
            let left = end.saturating_sub(self.inner.clock.now());
            let silence = initial.unwrap_or(request.silence);
            let piece = next(&mut body, &mut turn, silence.min(left)).await;
            if let Ok(Some(piece)) = &piece {
                lines.push(piece, |line| events.push(self.event(&format, line)));
                if initial.is_some() && events.iter().any(|event| matches!(event, Event::InitialEnd(_))) {
                    initial = None;
                }
            } else if let Some(rest) = std::mem::take(&mut lines).rest() {
                // A line without its end: whole, or cut off and told again by the next watch.
                events.extend(format.event(&rest).ok());
            }
            if !events.is_empty()
                && let Some(order) = self.feed(Input::Events(events))?
            {
                return Ok(End::Order(order));
            }
            if initial.is_none() {
                turn = None;
            }
            return Ok(End::Input(match piece {
                Ok(Some(_)) if self.inner.clock.now() < end => continue,
                Ok(Some(_)) => {
                    Input::Cut("the server did not end the watch after the time that was asked for".to_owned())
                }
                Ok(None) => Input::Closed,
                Err(Lost::Silent(bound)) => Input::Silent(bound),
                Err(Lost::Broken(why)) => Input::Cut(why),
            }));
        }
    }

    fn event(&mut self, format: &Format, line: Option<&[u8]>) -> Event {
        let event = match line {
            Some(line) => format.event(line),
            None => Err(Unreadable {
                key: None,
                why: format!("an event of more than {} MiB", crate::read::MAX_OBJECT >> 20),
            }),
        };
        event.unwrap_or_else(|unreadable| {
            self.tell(&unreadable);
            Event::Unreadable(unreadable.key)
        })
    }

    /// A line for each object that can't be read, but no storm of them.
    fn tell(&mut self, unreadable: &Unreadable) {
        let now = self.inner.clock.now();
        let (since, told) = &mut self.told;
        if now.saturating_sub(*since) >= Duration::from_secs(60) {
            (*since, *told) = (now, 0);
        }
        *told = told.saturating_add(1);
        if *told <= TOLD_A_MINUTE {
            let problem =
                pilothouse_object::escape_control(pilothouse_object::shorten(&unreadable.to_string(), 512).as_ref())
                    .into_owned();
            tracing::warn!(kind = %self.informer.gvk(), problem, "an object can't be read; it is left as it was, the rest goes on");
        }
    }
}
