"""Tests of the real process over real sockets. A package, so that its files' names are its own."""
