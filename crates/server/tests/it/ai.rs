//! AI chat through the route, against a provider that plays a script, in time that moves when everything waits.

mod charging;
mod hostile;
mod patterns;
mod provider;
mod refusals;
mod secrets;
mod streams;
mod vectors;
mod world;
