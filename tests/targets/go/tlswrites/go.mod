module example.com/tlswrites

go 1.15
