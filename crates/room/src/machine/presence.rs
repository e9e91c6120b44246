//! Presence (`sync.md` 6): who is here, told to everybody as whole lists.
//!
//! A device is shown with its newest connection. One that has left stays shown until its departure is announced, so
//! that no list reveals a tab hand-over. Lists are paced per receiver; the text is made when it is sent.

use std::sync::Arc;

use bytes::Bytes;
use epicenter_identity::{DeviceId, UserId};
use epicenter_sync::{PresenceEntry, PresenceLists, encode_presence};

use super::lifetime::Departure;
use super::{Connection, Machine};
use crate::action::Outgoing;
use crate::command::{ConnectionId, Millis};
use crate::schedule::Deadline;
use crate::sorted::SortedMap;

/// The devices of a room.
#[derive(Debug, Default)]
pub(super) struct Presence {
    devices: SortedMap<DeviceId, Device>,
    /// Of all `actions` that connections hold.
    actions_bytes: usize,
}

#[derive(Debug)]
struct Device {
    /// Its connections in the order they opened; none while its departure is waiting.
    tabs: Vec<ConnectionId>,
    shown: Shown,
}

/// What the others see of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    connected_at: Millis,
    user: UserId,
    actions: Option<Arc<str>>,
}

impl Shown {
    fn of(connection: &Connection) -> Self {
        Shown {
            connected_at: connection.opened_at,
            user: connection.user.clone(),
            actions: connection.actions.clone(),
        }
    }
}

/// Whether a list may be held back to be joined with the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    AtOnce,
    Joined,
}

impl Presence {
    /// How many connections the device has.
    pub(super) fn tabs(&self, device: &DeviceId) -> usize {
        self.devices
            .get(device)
            .map_or(0, |device| device.tabs.len())
    }

    /// The connection that dispatch calls for the device go to.
    pub(super) fn newest(&self, device: &DeviceId) -> Option<ConnectionId> {
        self.devices.get(device)?.tabs.last().copied()
    }

    /// Adds a connection, the newest of its device; says whether it is the only one, and whether the device is shown in
    /// another way now.
    fn add(&mut self, device_id: DeviceId, id: ConnectionId, shown: Shown) -> (bool, bool) {
        let Some(device) = self.devices.get_mut(&device_id) else {
            let tabs = vec![id];
            self.devices.insert(device_id, Device { tabs, shown });
            return (true, false);
        };
        let is_first = device.tabs.is_empty();
        let has_changed = device.shown != shown;
        device.tabs.push(id);
        device.shown = shown;
        (is_first, has_changed)
    }

    /// The lists of all devices, each by its position.
    fn lists(&self, shared: bool) -> PresenceLists {
        PresenceLists::new(
            self.devices
                .iter()
                .map(|(id, device)| device.entry(id, shared)),
        )
    }

    fn list_without(&self, receiver: &DeviceId, shared: bool) -> Bytes {
        let others = self.devices.iter().filter(|(id, _)| *id != receiver);
        let entries: Vec<PresenceEntry<'_>> = others
            .map(|(id, device)| device.entry(id, shared))
            .collect();
        Bytes::from(encode_presence(&entries))
    }
}

impl Device {
    fn entry<'a>(&'a self, id: &'a DeviceId, shared: bool) -> PresenceEntry<'a> {
        PresenceEntry {
            device: id.as_str(),
            connected_at: self.shown.connected_at.0,
            actions: self.shown.actions.as_deref().unwrap_or("{}"),
            user: shared.then_some(self.shown.user.as_str()),
        }
    }
}

impl Machine {
    /// A connection has opened: it gets the list; the others do if what they see has changed.
    pub(super) fn announce_arrival(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let device_id = connection.device.clone();
        let shown = Shown::of(connection);
        let (is_first, has_changed) = self.presence.add(device_id.clone(), id, shown);
        self.schedule.clear(&Deadline::Departure(device_id.clone()));
        self.send_list(id);
        if is_first {
            self.announce(Some(&device_id), Pace::AtOnce);
        } else if has_changed {
            self.announce(Some(&device_id), Pace::Joined);
        }
    }

    /// A connection, already taken from the machine's own, has gone.
    pub(super) fn announce_departure(
        &mut self,
        id: ConnectionId,
        connection: &Connection,
        departure: Departure,
    ) {
        self.presence.actions_bytes -= connection
            .actions
            .as_ref()
            .map_or(0, |actions| actions.len());
        if self.connections.is_empty() {
            // Nobody is left to be told.
            for device in std::mem::take(&mut self.presence.devices).into_keys() {
                self.schedule.clear(&Deadline::Departure(device));
            }
            return;
        }
        let Some(device) = self.presence.devices.get_mut(&connection.device) else {
            return;
        };
        device.tabs.retain(|tab| *tab != id);
        if let Some(newest) = device.tabs.last() {
            let Some(newest) = self.connections.get(newest) else {
                return;
            };
            let shown = Shown::of(newest);
            if device.shown != shown {
                device.shown = shown;
                self.announce(Some(&connection.device), Pace::Joined);
            }
            return;
        }
        match departure {
            Departure::Delayed => {
                let due = self.now.plus(self.config.departure_delay_ms);
                self.schedule
                    .set(Deadline::Departure(connection.device.clone()), due);
            }
            Departure::AtOnce => {
                self.presence.devices.remove(&connection.device);
                self.announce(None, Pace::AtOnce);
            }
            Departure::Unannounced => {
                self.presence.devices.remove(&connection.device);
            }
        }
    }

    pub(super) fn departure_due(&mut self, device: &DeviceId) {
        self.presence.devices.remove(device);
        self.announce(None, Pace::Joined);
    }

    /// A connection tells what its device can do.
    pub(super) fn publish(&mut self, id: ConnectionId, actions: &str) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let before = connection.actions.take().map_or(0, |actions| actions.len());
        let others = self.presence.actions_bytes - before;
        let fits = actions.len() <= self.config.max_actions_bytes
            && others + actions.len() <= self.config.max_room_actions_bytes;
        connection.actions = fits.then(|| Arc::from(actions));
        self.presence.actions_bytes = others + if fits { actions.len() } else { 0 };
        if let Some(device) = self.presence.devices.get_mut(&connection.device)
            && device.tabs.last() == Some(&id)
        {
            device.shown = Shown::of(connection);
        }
        self.announce(None, Pace::Joined);
    }

    /// The changes that were joined for a receiver are sent.
    pub(super) fn list_due(&mut self, id: ConnectionId) {
        self.send_list(id);
    }

    fn send_list(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let list = self
            .presence
            .list_without(&connection.device, self.config.shared);
        connection.last_list = self.now;
        self.schedule.clear(&Deadline::List(id));
        self.out.send(id, Outgoing::Text(list));
    }

    /// Sends everybody their list, but not to the connections of the device whose own entry changed: they never see it.
    fn announce(&mut self, changed: Option<&DeviceId>, pace: Pace) {
        // What one list costs must not be paid for each receiver: a room may have 2,000.
        let mut lists: Option<PresenceLists> = None;
        for (position, (device_id, device)) in self.presence.devices.iter().enumerate() {
            if changed == Some(device_id) {
                continue;
            }
            // The connections of one device get the same list.
            let mut list: Option<Bytes> = None;
            for id in &device.tabs {
                let Some(connection) = self.connections.get_mut(id) else {
                    continue;
                };
                let joined_until = connection.last_list.plus(self.config.presence_join_ms);
                if pace == Pace::Joined && self.now < joined_until {
                    self.schedule.set(Deadline::List(*id), joined_until);
                    continue;
                }
                let list = list.get_or_insert_with(|| {
                    let lists =
                        lists.get_or_insert_with(|| self.presence.lists(self.config.shared));
                    Bytes::from(lists.without(position))
                });
                connection.last_list = self.now;
                self.schedule.clear(&Deadline::List(*id));
                self.out.send(*id, Outgoing::Text(list.clone()));
            }
        }
    }
}
