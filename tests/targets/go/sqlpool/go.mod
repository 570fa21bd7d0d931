module sqlpool

go 1.21
