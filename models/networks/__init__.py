"""Networks: U-Nets and the families that are built of them."""
