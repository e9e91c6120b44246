//! Dispatch (`sync.md` 6): a caller asks a device to run an action and gets its result.
//!
//! A flight is a call that waits for its response. Correlation is per caller; a response counts only from the socket
//! that was asked, and once, because the flight is gone afterwards. Flights end with their sockets.

use std::collections::BTreeMap;

use bytes::Bytes;
use epicenter_identity::{Access, DeviceId, UserId};
use epicenter_sync::{
    action_failed, encode_dispatch_inbound, encode_dispatch_result, recipient_offline,
};

use super::Machine;
use crate::action::{Answer, Outgoing};
use crate::command::{CallId, ConnectionId};
use crate::schedule::Deadline;

/// Names a call in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlightId(u64);

/// The calls in flight of a room.
#[derive(Debug, Default)]
pub(super) struct Dispatch {
    flights: BTreeMap<FlightId, Flight>,
    by_caller: BTreeMap<Caller, FlightId>,
    /// By the socket that was asked and the id it was given.
    by_asked: BTreeMap<(ConnectionId, String), FlightId>,
    last: u64,
    last_fresh: u64,
}

#[derive(Debug)]
struct Flight {
    caller: Caller,
    asked: ConnectionId,
    inbound: String,
    to: String,
}

/// Who waits for the result. The ids of two sockets do not meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Connection(ConnectionId, String),
    Call(CallId),
}

impl Dispatch {
    fn begin(&mut self, caller: Caller, asked: ConnectionId, to: &str) -> (FlightId, String) {
        let inbound = match &caller {
            Caller::Connection(_, request)
                if !self.by_asked.contains_key(&(asked, request.clone())) =>
            {
                request.clone()
            }
            _ => self.fresh_id(asked),
        };
        self.last += 1;
        let id = FlightId(self.last);
        self.by_caller.insert(caller.clone(), id);
        self.by_asked.insert((asked, inbound.clone()), id);
        let flight = Flight {
            caller,
            asked,
            inbound: inbound.clone(),
            to: to.to_owned(),
        };
        self.flights.insert(id, flight);
        (id, inbound)
    }

    /// An id that the asked socket has no call with; callers may have chosen any.
    fn fresh_id(&mut self, asked: ConnectionId) -> String {
        loop {
            self.last_fresh += 1;
            let id = format!("hub-{}", self.last_fresh);
            if !self.by_asked.contains_key(&(asked, id.clone())) {
                return id;
            }
        }
    }

    fn end(&mut self, id: FlightId) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.by_caller.remove(&flight.caller);
        self.by_asked
            .remove(&(flight.asked, flight.inbound.clone()));
        if self.flights.is_empty() {
            // An empty tree keeps its root; most rooms have no call in flight most of the time.
            self.flights = BTreeMap::new();
            self.by_caller = BTreeMap::new();
            self.by_asked = BTreeMap::new();
        }
        Some(flight)
    }

    fn made_by(&self, connection: ConnectionId) -> impl Iterator<Item = FlightId> {
        self.by_caller
            .range(Caller::Connection(connection, String::new())..)
            .take_while(
                move |(caller, _)| matches!(caller, Caller::Connection(id, _) if *id == connection),
            )
            .map(|(_, flight)| *flight)
    }

    /// HTTP callers have no connection to count by: all of a room's count as one.
    fn made_over_http(&self) -> usize {
        self.by_caller.range(Caller::Call(CallId(0))..).count()
    }

    fn asked_of(&self, connection: ConnectionId) -> impl Iterator<Item = FlightId> {
        self.by_asked
            .range((connection, String::new())..)
            .take_while(move |((asked, _), _)| *asked == connection)
            .map(|(_, flight)| *flight)
    }
}

impl Machine {
    pub(super) fn dispatch_request(
        &mut self,
        id: ConnectionId,
        request: String,
        to: &str,
        action: &str,
        input: Option<&str>,
    ) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (user, device) = (connection.user.clone(), connection.device.clone());
        let caller = Caller::Connection(id, request);
        if self.dispatch.by_caller.contains_key(&caller) {
            return;
        }
        if self.dispatch.made_by(id).count() >= self.config.max_calls {
            self.deliver_result(caller, &action_failed(action, "too many calls"));
            return;
        }
        match DeviceId::parse(to)
            .ok()
            .and_then(|to| self.find_recipient(&to, &user))
        {
            Some(asked) => {
                let from = (Some(device.as_str()), user.as_str());
                self.ask(caller, asked, to, action, input, from);
            }
            None => self.deliver_result(caller, &recipient_offline(to)),
        }
    }

    pub(super) fn dispatch_call(
        &mut self,
        call: CallId,
        access: &Access,
        to: &DeviceId,
        action: &str,
        input: Option<&str>,
    ) {
        let caller = Caller::Call(call);
        if self.dispatch.made_over_http() >= self.config.max_calls {
            self.deliver_result(caller, &action_failed(action, "too many calls"));
            return;
        }
        match self.find_recipient(to, access.user()) {
            Some(asked) => {
                let from = (None, access.user().as_str());
                self.ask(caller, asked, to.as_str(), action, input, from);
            }
            None => self.deliver_result(caller, &recipient_offline(to.as_str())),
        }
    }

    /// A response of the socket that was asked; any other is dropped.
    pub(super) fn dispatch_response(&mut self, asked: ConnectionId, inbound: String, result: &str) {
        let flight = self.dispatch.by_asked.get(&(asked, inbound)).copied();
        if let Some(flight) = flight.and_then(|id| self.end_flight(id)) {
            self.deliver_result(flight.caller, result);
        }
    }

    pub(super) fn flight_timed_out(&mut self, id: FlightId) {
        if let Some(flight) = self.end_flight(id) {
            let result = recipient_offline(&flight.to);
            self.deliver_result(flight.caller, &result);
        }
    }

    /// A socket has gone: the calls it made are forgotten, those it was asked are answered.
    pub(super) fn end_flights(&mut self, connection: ConnectionId) {
        let made: Vec<FlightId> = self.dispatch.made_by(connection).collect();
        for id in made {
            self.end_flight(id);
        }
        let asked: Vec<FlightId> = self.dispatch.asked_of(connection).collect();
        for id in asked {
            self.flight_timed_out(id);
        }
    }

    /// The HTTP caller has gone.
    pub(super) fn hang_up(&mut self, call: CallId) {
        if let Some(id) = self.dispatch.by_caller.get(&Caller::Call(call)).copied() {
            self.end_flight(id);
        }
    }

    /// The newest socket of the device, if this user may call it.
    fn find_recipient(&self, to: &DeviceId, caller: &UserId) -> Option<ConnectionId> {
        let id = self.presence.newest(to)?;
        let recipient = self.connections.get(&id)?;
        let is_own = recipient.user == *caller;
        (is_own || !self.config.shared || self.config.cross_user_dispatch).then_some(id)
    }

    fn ask(
        &mut self,
        caller: Caller,
        asked: ConnectionId,
        to: &str,
        action: &str,
        input: Option<&str>,
        from: (Option<&str>, &str),
    ) {
        let (id, inbound) = self.dispatch.begin(caller, asked, to);
        let due = self.now.plus(self.config.dispatch_timeout_ms);
        self.schedule.set(Deadline::Flight(id), due);
        let from = self.config.shared.then_some(from);
        let text = encode_dispatch_inbound(&inbound, action, input, from);
        self.out.send(asked, Outgoing::Text(Bytes::from(text)));
    }

    fn end_flight(&mut self, id: FlightId) -> Option<Flight> {
        self.schedule.clear(&Deadline::Flight(id));
        self.dispatch.end(id)
    }

    fn deliver_result(&mut self, caller: Caller, result: &str) {
        match caller {
            Caller::Connection(id, request) => {
                let text = encode_dispatch_result(&request, result);
                self.out.send(id, Outgoing::Text(Bytes::from(text)));
            }
            Caller::Call(call) => {
                self.out.answer(
                    call,
                    Answer::Dispatched {
                        result: result.to_owned(),
                    },
                );
            }
        }
    }
}
