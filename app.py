"""The web page: `python app.py [--host HOST] [--port PORT] [--password WORD] [--root-path PATH] [--mcp] [--share]`."""

import sys

from mmgen.web.start import main

if __name__ == "__main__":
    sys.exit(main())
