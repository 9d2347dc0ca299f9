//! One reflector on tokio: does the I/O that it orders, and tells it what came of it.

use std::{sync::Arc, time::Duration};

use kube::client::Body;

use crate::{
    driver::Inner,
    failure::{Failure, Trouble},
    informer::Informer,
    read::{Format, Lines, ListReader, Unreadable},
    reflector::{Event, Input, ListRequest, Order, WatchRequest},
    store::Scope,
    transport::{self, Resource},
};

/// The reflector is gone.
struct Gone;

/// How a watch ended.
enum End {
    /// By itself.
    Input(Input),
    /// The reflector wants something else.
    Order(Order),
}

/// Once the API server is back, watches come back over so many milliseconds.
const SPREAD: u64 = 500;

/// The most unreadable objects that one watch tells of in a minute.
const TOLD_A_MINUTE: u32 = 10;

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
            let end = match current {
                Order::Wait(pause) => {
                    self.wait(pause).await;
                    Input::Timer
                }
                Order::Discover => match self.discover(&scope).await {
                    Ok(found) => {
                        resource = Some(found);
                        Input::Found
                    }
                    Err(failure) => Input::Failed(failure),
                },
                Order::List(request) => match &resource {
                    Some(resource) => self.list(resource, &scope, &request).await?,
                    None => Input::Failed(Failure::new(Trouble::NotFound, "not discovered yet")),
                },
                Order::Watch(request) => match &resource {
                    Some(resource) => match self.watch(resource, &scope, &request).await? {
                        End::Input(input) => input,
                        End::Order(next) => {
                            order = Some(next);
                            continue;
                        }
                    },
                    None => Input::Failed(Failure::new(Trouble::NotFound, "not discovered yet")),
                },
            };
            order = self.feed(end)?;
        }
        tracing::error!(kind = %self.informer.gvk(), %scope, "a reflector has stopped by itself: a fault of this host, restart it");
        Ok(())
    }

    fn heard<T>(&self, answer: Result<T, Failure>) -> Result<T, Failure> {
        self.inner.reach.heard(&answer);
        answer
    }

    /// Waits for so long, or until there is reason to hope: the API server was away and answers, or another watch that was
    /// forbidden like this one may be had.
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
            // Not all at the same moment.
            let spread = Duration::from_millis(self.id.wrapping_mul(37) % SPREAD);
            #[expect(clippy::disallowed_methods, reason = "this is the driver that waits")]
            tokio::time::sleep(spread).await;
        };
        #[expect(clippy::disallowed_methods, reason = "this is the driver that waits")]
        // An error: the pause is over.
        let _ = tokio::time::timeout(pause, hope).await;
    }

    async fn discover(&self, scope: &Scope) -> Result<Resource, Failure> {
        let gvk = self.informer.gvk();
        let found = transport::discover_watched(&self.inner.client, gvk, self.inner.config.patience).await;
        let found = self.heard(found)?;
        if !found.namespaced && *scope != Scope::All {
            let why = format!("{gvk} is cluster-scoped: who names namespaces sees nothing of it; ask for all of them");
            return Err(Failure::new(Trouble::Refused, why));
        }
        Ok(found)
    }

    async fn open(&mut self, path: &str) -> Result<Body, Failure> {
        let answer = self.heard(transport::get(&self.inner.client, path, self.inner.config.patience).await);
        self.forbidden |= matches!(&answer, Err(failure) if failure.trouble == Trouble::Forbidden);
        answer
    }

    fn format(&self) -> Format {
        Format {
            gvk: self.informer.gvk().clone(),
            keep: self.informer.keep(),
        }
    }

    async fn list(&mut self, resource: &Resource, scope: &Scope, request: &ListRequest) -> Result<Input, Gone> {
        let inner = self.inner.clone();
        // Never closed.
        let Ok(_turn) = inner.lists.acquire().await else {
            return Err(Gone);
        };
        let path = transport::list_path(self.informer.gvk(), resource, scope, request);
        let mut body = match self.open(&path).await {
            Ok(body) => body,
            Err(failure) => return Ok(Input::Failed(failure)),
        };
        let mut reader = ListReader::new(self.format());
        let garbled = |error: crate::read::ListError| Input::Failed(Failure::new(Trouble::Garbled, error.to_string()));
        loop {
            match transport::piece(&mut body, inner.config.patience.piece).await {
                Ok(Some(piece)) => match reader.push(&piece) {
                    Ok(page) => {
                        for unreadable in &page.unreadable {
                            self.tell(unreadable);
                        }
                        if !page.items.is_empty() || !page.unreadable.is_empty() {
                            self.feed(Input::Items(page.items, page.unreadable.len() as u64))?;
                        }
                    }
                    Err(error) => return Ok(garbled(error)),
                },
                Ok(None) => break,
                Err(failure) => return Ok(Input::Failed(failure)),
            }
        }
        Ok(match reader.finish() {
            Ok((version, token)) => Input::Page { version, token },
            Err(error) => garbled(error),
        })
    }

    async fn watch(&mut self, resource: &Resource, scope: &Scope, request: &WatchRequest) -> Result<End, Gone> {
        let path = transport::watch_path(self.informer.gvk(), resource, scope, request);
        let mut body = match self.open(&path).await {
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
        let format = self.format();
        let mut lines = Lines::default();
        loop {
            let mut events = Vec::new();
            let piece = transport::piece(&mut body, request.silence).await;
            if let Ok(Some(piece)) = &piece {
                lines.push(piece, |line| events.push(self.event(&format, line)));
            } else if let Some(rest) = std::mem::take(&mut lines).rest() {
                // A line without its end: whole, or cut off and told again by the next watch.
                events.extend(format.event(&rest).ok());
            }
            if !events.is_empty()
                && let Some(order) = self.feed(Input::Events(events))?
            {
                return Ok(End::Order(order));
            }
            match piece {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(End::Input(Input::Closed)),
                Err(failure) => return Ok(End::Input(Input::Cut(failure.message))),
            }
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
            Event::Unreadable
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
