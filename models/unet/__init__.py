"""The U-Net that the networks share, and the blocks that the discriminator is built of too."""
