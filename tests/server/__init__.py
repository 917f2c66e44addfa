"""Tests of the server, through its doors."""
