"""The suite, by what is promised: api, realtime, domain, faults; and the project itself."""
