module cluster.paddock.dev/pause

go 1.26.0
