# Hashes, arrays, strings and patterns: a log is made up, read, counted and printed, round after round.
use strict;
use warnings;

my $seed = 1;
sub draw {
    my ($bound) = @_;
    $seed = ($seed * 1103515245 + 12345) % 2147483648;
    return ($seed >> 8) % $bound;
}

my $total = 0;
for my $round (1 .. $ARGV[0]) {
    my @lines;
    for my $i (1 .. 6000) {
        my $path = join '/', map { 'part' . draw(40) } 1 .. 2 + draw(4);
        push @lines, sprintf '10.0.%d.%d - user%d "GET /%s?id=%d" %d %d', draw(4), draw(250), draw(300), $path, draw(1e6),
            (200, 200, 200, 304, 404, 500)[draw(6)], draw(50000);
    }
    my (%paths, %users, %errors);
    for my $line (@lines) {
        next unless $line =~ m{^(\S+) - (\S+) "GET /([^?]+)\?id=(\d+)" (\d+) (\d+)$};
        $paths{$3}{count}++;
        $paths{$3}{bytes} += $6;
        push @{ $users{$2} }, [ $1, $4, $6 ];
        $errors{$5} .= "$3;" if $5 >= 400;
    }
    for my $user (sort keys %users) {
        my @sorted = sort { $b->[2] <=> $a->[2] || $a->[1] <=> $b->[1] } @{ $users{$user} };
        my $text = join ' ', map { "@$_" } @sorted;
        $text =~ s/(\d+)\.(\d+)/$2.$1/g;
        $total += length $text;
    }
    $total += scalar(keys %paths) + length(join '', map { uc } values %errors);
    $total += $paths{$_}{bytes} % 97 for sort keys %paths;
}
print "$total\n";
