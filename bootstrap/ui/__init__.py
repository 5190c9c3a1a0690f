"""The only printer: screens, tables, live progress, one JSON document."""
