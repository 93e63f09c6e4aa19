//! Python bindings of fairlead.
