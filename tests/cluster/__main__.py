from tests.cluster.command import main

raise SystemExit(main())
