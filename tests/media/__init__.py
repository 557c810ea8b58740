"""Tests of blazechat/media: storage is covered by tests/files."""
