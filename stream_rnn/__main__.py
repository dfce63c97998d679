"""`python -m stream_rnn` is `stream-rnn`."""

from stream_rnn.cli import main

raise SystemExit(main())
