module resolver

go 1.21
