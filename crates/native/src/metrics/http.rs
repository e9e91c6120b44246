//! What became of HTTP requests, by the template of their route.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::MatchedPath;
use epicenter_api::ErrorName;
use http::Response;

use super::counting::{Count, Histogram, Times};

/// What stands for the route of a path that is none.
const NO_ROUTE: &str = "none";

/// The classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts answers.
#[derive(Debug)]
pub(crate) struct HttpStats {
    /// As many as there are templates, whatever is asked for.
    routes: RwLock<BTreeMap<String, Arc<RouteStats>>>,
    refusals: BTreeMap<&'static str, Count>,
}

#[derive(Debug, Default)]
struct RouteStats {
    classes: [Count; CLASSES.len()],
    times: Times,
}

impl Default for HttpStats {
    fn default() -> Self {
        let names = ErrorName::ALL.iter().map(|name| name.as_str());
        Self {
            routes: RwLock::default(),
            refusals: names.map(|name| (name, Count::default())).collect(),
        }
    }
}

impl HttpStats {
    /// An answer is on its way; its head took so long.
    pub(crate) fn note<B>(&self, response: &Response<B>, took: Duration) {
        let route = response.extensions().get::<MatchedPath>();
        let route = self.route(route.map_or(NO_ROUTE, MatchedPath::as_str));
        let class = usize::from(response.status().as_u16() / 100);
        if let Some(class) = route.classes.get(class.wrapping_sub(1)) {
            class.add(1);
        }
        route.times.note(took);
        if let Some(name) = response.extensions().get::<ErrorName>()
            && let Some(refusals) = self.refusals.get(name.as_str())
        {
            refusals.add(1);
        }
    }

    /// Answers by route and class of status, where there were any.
    pub(super) fn requests(&self) -> Vec<([(&'static str, String); 2], u64)> {
        let of_route = |(route, stats): (String, Arc<RouteStats>)| {
            let counts: Vec<u64> = stats.classes.iter().map(Count::read).collect();
            let classes = CLASSES.into_iter().zip(counts);
            let used = classes.filter(|(_, count)| *count > 0);
            used.map(move |(class, count)| {
                (
                    [("route", route.clone()), ("status", class.to_owned())],
                    count,
                )
            })
        };
        self.read().into_iter().flat_map(of_route).collect()
    }

    /// Times by route.
    pub(super) fn times(&self) -> Vec<([(&'static str, String); 1], Histogram)> {
        let routes = self.read().into_iter();
        let times = routes.map(|(route, stats)| ([("route", route)], stats.times.read()));
        times.collect()
    }

    /// Refusals by name.
    pub(super) fn refusals(
        &self,
    ) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> {
        let counts = self.refusals.iter();
        counts.map(|(name, count)| ([("error", *name)], count.read()))
    }

    fn route(&self, template: &str) -> Arc<RouteStats> {
        {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(stats) = routes.get(template) {
                return Arc::clone(stats);
            }
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(routes.entry(template.to_owned()).or_default())
    }

    fn read(&self) -> Vec<(String, Arc<RouteStats>)> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let routes = routes.iter();
        routes
            .map(|(route, stats)| (route.clone(), Arc::clone(stats)))
            .collect()
    }
}
