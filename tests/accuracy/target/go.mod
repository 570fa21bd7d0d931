module accuracytarget

go 1.21
