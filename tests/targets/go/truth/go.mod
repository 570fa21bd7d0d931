module truth

go 1.15
