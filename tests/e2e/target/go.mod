module e2etarget

go 1.21
