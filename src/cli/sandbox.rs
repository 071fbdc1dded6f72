//! `clearway sandbox`: the institutions of the demo, for a gateway that runs by itself.
