module accuracydriver

go 1.21
